//! Separates errors that belong to one target or one client from errors of the whole origin.
//!
//! An origin in trouble fails everywhere. One broken file, one dead HLS stream or one client with nonsensical requests stands out:
//! it fails far more often than everything else. Such outliers are excluded, the one with the most errors first, and the error
//! share is computed from the rest. A group of requests is an outlier if it has more errors than by chance, and fails at least
//! twice as often as the average group of its dimension. Each group has one vote, however many requests it made: so failing groups
//! are excluded only while they are a minority, and a flood of requests does not change that.

use std::{cmp::Reverse, collections::HashMap};

use super::keys::{Dimension, Group, Keys};

/// An outlier has more than one in this many of the remaining errors.
const LOUD: u64 = 8;
/// If more groups than this are outliers, the origin itself is failing.
const MOST: usize = 8;
/// And at least this many errors: fewer can hit one target by chance.
const LEAST: u64 = 3;
/// It fails this many times as often as the average of the others.
const TIMES: f64 = 2.0;

/// The outcome of one request to the origin.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its target and client.
    pub keys: Keys,
    /// Whether it was an error of the origin.
    pub failed: bool,
}

/// A number of requests, and how many were errors of the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests that reached the origin.
    pub requests: u64,
    /// 5xx, failed connects, timeouts, broken bodies.
    pub errors: u64,
}

impl Count {
    /// Counts one answer.
    pub fn add(&mut self, failed: bool) {
        self.requests += 1;
        self.errors += u64::from(failed);
    }

    /// The share of errors, 0 to 1.
    pub fn share(self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.errors as f64 / self.requests as f64
        }
    }

    fn without(self, failed: bool) -> Count {
        Count {
            requests: self.requests.saturating_sub(1),
            errors: self.errors.saturating_sub(u64::from(failed)),
        }
    }
}

/// Answers split into outliers and the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// The answers without outliers.
    pub rest: Count,
    /// The outliers, the one with the most errors first.
    pub outliers: Vec<Group>,
    /// If there are no outliers: groups that all answers belong to, so that there is nothing to compare with.
    pub alone: Vec<Group>,
}

/// Separates the outliers in `answers`. `succeeded`: requests that recently succeeded. They vote too, because a group without
/// answers in this batch may be shut out by it.
pub fn weigh(answers: &[Answer], succeeded: impl Iterator<Item = Keys>) -> Weighed {
    let mut groups: HashMap<Group, Count> = HashMap::new();
    let mut all = Count::default();
    for answer in answers {
        all.add(answer.failed);
        for group in answer.keys.groups() {
            groups.entry(group).or_default().add(answer.failed);
        }
    }
    for group in succeeded.flat_map(Keys::groups) {
        groups.entry(group).or_default();
    }
    let mut left: Vec<Answer> = answers.to_vec();
    let (mut rest, mut outliers) = (all, Vec::new());
    while outliers.len() < MOST {
        let mut votes = [(0.0, 0.0); Dimension::ALL.len()];
        for (group, count) in &groups {
            let (failing, voters) = &mut votes[group.dimension as usize];
            *failing += count.share();
            *voters += 1.0;
        }
        let stands_out = |&(&group, &count): &(&Group, &Count)| {
            let (failing, voters) = votes[group.dimension as usize];
            let share = count.share();
            count.errors >= LEAST
                && count.errors * LOUD > rest.errors
                && voters > 1.0
                // A small tolerance, because the sum is rounded.
                && share * (voters - 1.0) >= TIMES * (failing - share) - 1e-9
        };
        // Among groups with equally many errors, the one with the fewest successes, then the narrowest.
        let loudest = groups
            .iter()
            .filter(stands_out)
            .max_by_key(|(group, count)| (count.errors, Reverse(count.requests), Reverse(**group)));
        let Some((&group, _)) = loudest else {
            break;
        };
        outliers.push(group);
        left.retain(|answer| {
            let stays = !answer.keys.is_of(group);
            if !stays {
                rest = rest.without(answer.failed);
                for group in answer.keys.groups() {
                    if let Some(count) = groups.get_mut(&group) {
                        *count = count.without(answer.failed);
                        if count.requests == 0 {
                            groups.remove(&group);
                        }
                    }
                }
            }
            stays
        });
    }
    let alone = match answers.first() {
        Some(first) if outliers.is_empty() => first
            .keys
            .groups()
            .filter(|group| groups.get(group).is_some_and(|count| *count == all))
            .collect(),
        _ => Vec::new(),
    };
    Weighed {
        rest,
        outliers,
        alone,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    /// `many` answers; `of` gives path, client and failure for each number.
    fn answers(many: usize, of: impl Fn(usize) -> (String, u32, bool)) -> Vec<Answer> {
        (0..many)
            .map(|n| {
                let (path, client, failed) = of(n);
                let client = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + client));
                Answer {
                    keys: Keys::of(&path, None, client),
                    failed,
                }
            })
            .collect()
    }

    /// The counted share of errors in percent, without recent successes.
    fn share(answers: &[Answer]) -> f64 {
        (weigh(answers, [].into_iter()).rest.share() * 100.0).round()
    }

    #[test]
    fn one_broken_path_says_nothing_of_the_origin_also_where_all_have_one_address() {
        let of = |n| {
            if n % 5 < 2 {
                ("/broken".into(), 1, true)
            } else {
                ("/ok".into(), 1, false)
            }
        };
        assert_eq!(share(&answers(100, of)), 0.0);
    }

    #[test]
    fn one_client_that_asks_for_a_thousand_broken_paths_says_nothing_of_the_origin() {
        let of = |n| {
            if n % 2 == 0 {
                (format!("/{n}/broken"), 1, true)
            } else {
                ("/ok".into(), n as u32, false)
            }
        };
        assert_eq!(share(&answers(1000, of)), 0.0);
        // Behind one address together with all others; its errors share a directory.
        let of = |n| {
            if n % 2 == 0 {
                (format!("/api/{n}"), 1, true)
            } else {
                (format!("/film/{}", n % 9), 1, false)
            }
        };
        assert_eq!(share(&answers(1000, of)), 0.0);
    }

    #[test]
    fn dead_channels_among_others_are_set_apart_up_to_half_of_them() {
        let dead = |dead: usize| {
            answers(300, move |n| {
                let channel = n % 6;
                let failed = channel < dead;
                (format!("/ch{channel}/{n}.ts"), n as u32 % 40, failed)
            })
        };
        for few in 1..=3 {
            assert_eq!(share(&dead(few)), 0.0, "{few}");
        }
        assert!(share(&dead(5)) > 80.0);
        assert_eq!(share(&dead(6)), 100.0);
    }

    #[test]
    fn a_dead_channel_and_a_hostile_client_at_once_are_both_set_apart() {
        let of = |n: usize| match n % 4 {
            0 => (format!("/dead/{n}.ts"), n as u32, true),
            1 => (format!("/{n}/none"), 1_000_000, true),
            _ => (format!("/ch{}/{n}.ts", n % 3), n as u32, false),
        };
        assert_eq!(share(&answers(400, of)), 0.0);
    }

    #[test]
    fn an_origin_that_fails_everywhere_alike_is_ill() {
        let mut random = fastrand::Rng::with_seed(7);
        for (paths, clients) in [(1, 1), (1, 40), (3, 3), (40, 1), (10_000, 10_000)] {
            for failing in [0.3, 0.6, 1.0] {
                let some: Vec<_> = (0..200).map(|_| random.f64() < failing).collect();
                let raw = some.iter().filter(|failed| **failed).count() as f64 / 2.0;
                let of = |n: usize| (format!("/d/{}", n % paths), (n % clients) as u32, some[n]);
                let counts = share(&answers(200, of));
                assert!(
                    counts > raw * 0.7,
                    "{paths} {clients} {failing}: {counts} of {raw}"
                );
            }
        }
    }

    #[test]
    fn a_few_errors_on_as_many_targets_are_nobody_s_own() {
        let of = |n| (format!("/{n}"), n as u32, n % 7 == 0);
        assert_eq!(share(&answers(21, of)), 14.0);
    }

    #[test]
    fn a_flood_of_a_few_hostile_clients_does_not_outvote_the_others() {
        let of = |n: usize| match n % 10 {
            0 => (format!("/film/{n}"), n as u32 % 200, false),
            _ => (format!("/{n}/broken"), 1_000 + n as u32 % 5, true),
        };
        assert_eq!(share(&answers(1000, of)), 0.0);
    }

    #[test]
    fn those_who_lately_succeeded_have_a_vote_too() {
        let only = answers(100, |n| (format!("/{n}/broken"), n as u32 % 3, true));
        let weighed = weigh(&only, [].into_iter());
        assert_eq!(weighed.rest.share(), 1.0);
        let others = answers(6, |n| ("/ok".into(), 100 + n as u32, false));
        let weighed = weigh(&only, others.iter().map(|answer| answer.keys));
        assert_eq!(weighed.outliers.len(), 3);
        assert_eq!(weighed.rest, Count::default());
    }

    #[test]
    fn where_nobody_else_is_heard_it_is_known_who_is_alone() {
        let only = answers(100, |_| ("/broken".into(), 1, true));
        assert_eq!(weigh(&only, [].into_iter()).alone.len(), 4);
        let only = answers(100, |n| ("/broken".into(), n as u32, true));
        assert_eq!(weigh(&only, [].into_iter()).alone.len(), 3);
    }
}
