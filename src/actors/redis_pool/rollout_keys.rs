//! Level and canary in Redis: `<prefix>:level` holds the level's name, `<prefix>:canary` the canary as JSON (absent if there is
//! none). A message on the channel with the name of the level's key announces a change.

use redis::{Cmd, Value};

use crate::traffic::canary::{Canary, Rollout};

/// Ends the canary if it still runs: other instances may have changed it meanwhile. It uses one key only, so that it works in a
/// cluster.
const ROLL_BACK: &str = "\
local held = redis.call('GET', KEYS[1])
if not held or cjson.decode(held).stage ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

/// The keys of level and canary, and their commands.
#[derive(Debug)]
pub(super) struct RolloutKeys {
    level: String,
    canary: String,
}

impl RolloutKeys {
    /// The keys with this prefix.
    pub fn new(prefix: &str) -> Self {
        Self {
            level: format!("{prefix}:level"),
            canary: format!("{prefix}:canary"),
        }
    }

    /// The key of the level, which is also the channel's name.
    pub fn level(&self) -> &str {
        &self.level
    }

    /// The key of the canary.
    pub fn canary(&self) -> &str {
        &self.canary
    }

    /// Reads both: two replies, for level and canary.
    pub fn get(&self) -> Vec<Cmd> {
        [&self.level, &self.canary]
            .map(|key| command("GET", &[key]))
            .into()
    }

    /// Writes both, and announces the change.
    pub fn set(&self, rollout: &Rollout) -> Vec<Cmd> {
        let level = rollout.level.as_str();
        let canary = match text(&rollout.canary) {
            Some(text) => command("SET", &[&self.canary, &text]),
            None => command("DEL", &[&self.canary]),
        };
        vec![
            command("SET", &[&self.level, level]),
            canary,
            command("PUBLISH", &[&self.level, level]),
        ]
    }

    /// Ends the canary of this stage if it still runs, and announces the change.
    pub fn roll_back(&self, canary: &Canary) -> Vec<Cmd> {
        let mut eval = redis::cmd("EVAL");
        eval.arg(ROLL_BACK)
            .arg(1)
            .arg(&self.canary)
            .arg(canary.stage)
            .arg(text(canary).unwrap_or_default());
        vec![eval, command("PUBLISH", &[&self.level, "rollback"])]
    }

    /// Writes both if they are absent. The level is written last: an instance that finds it also finds the canary.
    pub fn set_if_absent(&self, rollout: &Rollout) -> Vec<Cmd> {
        let canary = text(&rollout.canary);
        let canary = canary.map(|text| command("SET", &[&self.canary, &text, "NX"]));
        let level = command("SET", &[&self.level, rollout.level.as_str(), "NX"]);
        canary.into_iter().chain([level]).collect()
    }
}

fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    for argument in arguments {
        command.arg(argument);
    }
    command
}

/// Parses the canary of a reply to [`RolloutKeys::get`]; no canary if the key is absent.
///
/// # Errors
///
/// The parser's message.
pub(super) fn parse_canary(reply: Value) -> Result<Canary, String> {
    match redis::from_redis_value::<Option<String>>(reply) {
        Ok(Some(text)) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Ok(None) => Ok(Canary::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// The canary as JSON; none if there is nothing to store.
fn text(canary: &Canary) -> Option<String> {
    let tells = *canary != Canary::default();
    tells.then(|| serde_json::to_string(canary).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::traffic::{
        canary::{Percent, Rollback},
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
        for written in [
            running().canary,
            running().rolled_back(Rollback { at, reason }).canary,
        ] {
            let text = text(&written).unwrap();
            assert_eq!(
                parse_canary(Value::BulkString(text.into_bytes())),
                Ok(written)
            );
        }
        assert_eq!(text(&Canary::default()), None);
        assert_eq!(parse_canary(Value::Nil), Ok(Canary::default()));
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        let text = text(&running().canary).unwrap().replace("10", "101");
        let error = parse_canary(Value::BulkString(text.into_bytes())).unwrap_err();
        assert!(error.contains("101 is not a percentage"), "{error}");
    }
}
