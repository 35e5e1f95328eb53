//! The canary as it lies in Redis: `<prefix>:canary`, a JSON text; absent if there is nothing to tell.

use redis::{Cmd, Value};

use crate::traffic::canary::Canary;

/// Takes a candidate back if it is still the one that runs: the fleet may have gone on meanwhile. One key, so that
/// it works in a cluster.
const ROLL_BACK: &str = "\
local held = redis.call('GET', KEYS[1])
if not held or cjson.decode(held).stage ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

/// Writes it.
pub(super) fn set(key: &str, canary: &Canary) -> Cmd {
    match text(canary) {
        Some(text) => {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(text);
            set
        }
        None => {
            let mut delete = redis::cmd("DEL");
            delete.arg(key);
            delete
        }
    }
}

/// Writes it if nothing is there; none if there is nothing to write.
pub(super) fn put_back(key: &str, canary: &Canary) -> Option<Cmd> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(text(canary)?).arg("NX");
    Some(set)
}

/// Writes the end of its stage; the reply is 1 if that stage was still there, else 0.
pub(super) fn roll_back(key: &str, canary: &Canary) -> Cmd {
    let mut eval = redis::cmd("EVAL");
    eval.arg(ROLL_BACK)
        .arg(1)
        .arg(key)
        .arg(canary.stage)
        .arg(text(canary).unwrap_or_default());
    eval
}

/// Reads it.
///
/// # Errors
///
/// What is no canary, in the words of the library.
pub(super) fn read(reply: Value) -> Result<Canary, String> {
    match redis::from_redis_value::<Option<String>>(reply) {
        Ok(Some(text)) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Ok(None) => Ok(Canary::default()),
        Err(error) => Err(error.to_string()),
    }
}

fn text(canary: &Canary) -> Option<String> {
    let tells = *canary != Canary::default();
    tells.then(|| serde_json::to_string(canary).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::traffic::{
        canary::{Percent, Rollback, Rollout},
        level::Level,
    };

    fn running() -> Rollout {
        let all = Rollout {
            level: Level::Low,
            canary: Canary::default(),
        };
        let (ten, at) = (Percent::try_from(10).unwrap(), SystemTime::UNIX_EPOCH);
        all.asked(Level::High, ten, 7, at).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let at = SystemTime::UNIX_EPOCH;
        let reason = "p95 \"900\" ms".to_owned();
        for canary in [
            running().canary,
            running().rolled_back(Rollback { at, reason }).canary,
        ] {
            let text = text(&canary).unwrap();
            assert_eq!(read(Value::BulkString(text.into_bytes())), Ok(canary));
        }
        assert_eq!(text(&Canary::default()), None);
        assert_eq!(read(Value::Nil), Ok(Canary::default()));
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        let text = text(&running().canary).unwrap().replace("10", "101");
        let error = read(Value::BulkString(text.into_bytes())).unwrap_err();
        assert!(error.contains("101 is not a percentage"), "{error}");
    }
}
