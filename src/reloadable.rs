//! When a changed setting takes effect, and which settings are in force after a reload.
//!
//! Each settings type lists its keys with `reloadable!` beside its definition. A missing key does not compile.

use std::fmt;

/// When a changed setting takes effect after a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TakesEffect {
    /// At once, also for running requests.
    AtOnce,
    /// From the next request on; running transfers keep the old value.
    NextRequest,
    /// From the next connection on, to clients or to the origin.
    NextConnection,
    /// After a restart of the process.
    AfterRestart,
}

impl fmt::Display for TakesEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TakesEffect::AtOnce => "at once",
            TakesEffect::NextRequest => "next request",
            TakesEffect::NextConnection => "next connection",
            TakesEffect::AfterRestart => "after a restart",
        })
    }
}

/// Settings that can be reloaded while the process runs. Implemented by `reloadable!`.
pub trait Reloadable {
    /// Restores the values of `running` for keys that need a restart: the result is in force after a reload.
    fn keep_until_restart(&mut self, running: &Self);

    /// All keys relative to these settings, and when a change takes effect.
    fn keys(&self) -> Vec<(String, TakesEffect)>;
}

/// Restores one key's running value if it needs a restart: see `reloadable!`.
pub(crate) fn keep<T: Clone>(effect: TakesEffect, value: &mut T, running: &T) {
    if effect == TakesEffect::AfterRestart {
        value.clone_from(running);
    }
}

/// The keys of nested settings, prefixed with `key`.
pub(crate) fn below(key: &str, inner: &impl Reloadable) -> Vec<(String, TakesEffect)> {
    let inner = inner.keys().into_iter();
    inner
        .map(|(name, effect)| (format!("{key}.{name}"), effect))
        .collect()
}

/// `reloadable!(Settings { listen: AfterRestart, tls: Nested })` declares for each key of a settings type when a change takes
/// effect: a [`TakesEffect`], or `Nested` for settings with keys of their own.
macro_rules! reloadable {
    ($settings:ty { $($key:ident: $effect:ident),+ $(,)? }) => {
        impl $crate::reloadable::Reloadable for $settings {
            fn keep_until_restart(&mut self, running: &Self) {
                // Destructures all fields, so that one that is not listed is a compile error.
                let Self { $($key),+ } = self;
                $($crate::reloadable::reloadable!(@keep $effect, $key, &running.$key);)+
            }

            fn keys(&self) -> Vec<(String, $crate::reloadable::TakesEffect)> {
                [$($crate::reloadable::reloadable!(@keys $effect, stringify!($key), &self.$key)),+].concat()
            }
        }
    };
    (@keep Nested, $value:expr, $running:expr) => {
        $crate::reloadable::Reloadable::keep_until_restart($value, $running)
    };
    (@keep $effect:ident, $value:expr, $running:expr) => {
        $crate::reloadable::keep($crate::reloadable::TakesEffect::$effect, $value, $running)
    };
    (@keys Nested, $key:expr, $value:expr) => {
        $crate::reloadable::below($key, $value)
    };
    (@keys $effect:ident, $key:expr, $value:expr) => {
        vec![($key.to_owned(), $crate::reloadable::TakesEffect::$effect)]
    };
}
pub(crate) use reloadable;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Outer {
        now: u8,
        later: u8,
        inner: Inner,
    }

    #[derive(Clone, Debug, PartialEq)]
    struct Inner {
        soon: u8,
        later: u8,
    }

    reloadable!(Outer {
        now: AtOnce,
        later: AfterRestart,
        inner: Nested
    });
    reloadable!(Inner {
        soon: NextRequest,
        later: AfterRestart
    });

    fn all(value: u8) -> Outer {
        Outer {
            now: value,
            later: value,
            inner: Inner {
                soon: value,
                later: value,
            },
        }
    }

    #[test]
    fn only_what_needs_a_restart_stays_as_it_was() {
        let mut taken = all(2);
        taken.keep_until_restart(&all(1));
        let inner = Inner { soon: 2, later: 1 };
        let (now, later) = (2, 1);
        assert_eq!(taken, Outer { now, later, inner });
    }

    #[test]
    fn every_key_is_told_with_the_keys_above_it() {
        let keys = all(1).keys();
        let keys: Vec<_> = keys.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["now", "later", "inner.soon", "inner.later"]);
    }
}
