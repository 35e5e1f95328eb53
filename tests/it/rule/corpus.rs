//! The origins that the rule is tried on: a table, and others made of a seed.

use std::time::Duration;

use fastrand::Rng;

use super::behaviour::{
    Access, Behaviour, Break, Framing, How, Instead, Pace, Ranges, Row, Spelling, Upload, Validator,
};

/// A large body that takes a while, so that several connections are worth it.
const LONG: usize = 320_000;
const ALWAYS: usize = usize::MAX;

fn cut(at: usize, times: usize) -> Option<Break> {
    let how = How::Close;
    Some(Break { at, how, times })
}

fn reset(at: usize, times: usize) -> Option<Break> {
    let how = How::Reset;
    Some(Break { at, how, times })
}

/// All rows of the table.
pub fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str, behaviour: Behaviour| {
        rows.push(Row {
            name: name.to_owned(),
            behaviour,
        });
    };
    let usual = Behaviour::default;
    let chunked = || Behaviour {
        framing: Framing::Chunked,
        ..usual()
    };
    let close = || Behaviour {
        framing: Framing::Close,
        ..usual()
    };
    let long = || Behaviour {
        len: LONG,
        pace: Pace::Trickle,
        ..usual()
    };

    row("plain", usual());
    for len in [0, 1, 99, 8192, 65_536, 1_500_000, 4_000_000] {
        row(&format!("{len} bytes"), Behaviour { len, ..usual() });
    }
    for (name, validator) in [
        ("weak tag", Validator::Weak),
        ("date alone", Validator::Date),
        ("date just now", Validator::JustNow),
        ("tag and date", Validator::Both),
        ("no validator", Validator::None),
    ] {
        row(
            name,
            Behaviour {
                validator,
                ..usual()
            },
        );
        row(
            &format!("{name}, long"),
            Behaviour {
                validator,
                ..long()
            },
        );
        for (how, breaks) in [("cut once", cut(400, 1)), ("cut", cut(400, ALWAYS))] {
            let behaviour = Behaviour {
                validator,
                breaks,
                ..usual()
            };
            row(&format!("{name}, {how}"), behaviour);
        }
    }

    row("chunked", chunked());
    row(
        "chunked, empty",
        Behaviour {
            len: 0,
            ..chunked()
        },
    );
    row(
        "trailers",
        Behaviour {
            framing: Framing::Trailers,
            ..usual()
        },
    );
    row("to the close", close());
    row("to the close, empty", Behaviour { len: 0, ..close() });
    row(
        "to the close, without validator",
        Behaviour {
            validator: Validator::None,
            ..close()
        },
    );

    for (name, ranges) in [
        ("ranges untold", Ranges::Untold),
        ("ranges ignored", Ranges::Ignored),
        ("ranges 403", Ranges::Refused(403)),
        ("ranges 416", Ranges::Refused(416)),
        ("ranges 501", Ranges::Refused(501)),
        ("ranges 400", Ranges::Refused(400)),
        ("ranges shifted", Ranges::Shifted),
        ("ranges short", Ranges::Short),
        ("ranges too long", Ranges::TooMany),
        ("ranges in multipart", Ranges::Multipart),
        ("ranges of another version", Ranges::OtherVersion),
    ] {
        row(name, Behaviour { ranges, ..long() });
        let breaks = cut(600, 1);
        let behaviour = Behaviour {
            ranges,
            breaks,
            ..usual()
        };
        row(&format!("{name}, cut once"), behaviour);
    }

    row("long", long());
    for (name, framing) in [
        ("with length", Framing::Length),
        ("chunked", Framing::Chunked),
        ("to the close", Framing::Close),
    ] {
        let with = |pace, len| Behaviour {
            framing,
            pace,
            len,
            ..usual()
        };
        row(&format!("pauses, {name}"), with(Pace::Pauses, 120_000));
        row(
            &format!("slow after fast, {name}"),
            with(Pace::SlowAfterFast, 30_000),
        );
        row(&format!("trickles, {name}"), with(Pace::Trickle, LONG));
        for (how, breaks) in [
            ("cut at the head", cut(0, 1)),
            ("cut once", cut(370, 1)),
            ("cut twice", cut(370, 2)),
            ("cut", cut(730, ALWAYS)),
            ("cut at the end", cut(999, ALWAYS)),
            ("reset once", reset(370, 1)),
            ("reset", reset(730, ALWAYS)),
            ("reset behind the end", reset(1000, ALWAYS)),
        ] {
            let behaviour = Behaviour {
                framing,
                breaks,
                ..usual()
            };
            row(&format!("{how}, {name}"), behaviour);
        }
        let behaviour = Behaviour {
            breaks: cut(500, 1),
            ..with(Pace::Trickle, LONG)
        };
        row(&format!("trickles, cut once, {name}"), behaviour);
    }
    row(
        "no last chunk",
        Behaviour {
            breaks: cut(1000, ALWAYS),
            ..chunked()
        },
    );
    for times in [1, ALWAYS] {
        let how = How::ChunkTooLong;
        let breaks = Some(Break {
            at: 500,
            how,
            times,
        });
        let name = if times == 1 {
            "a chunk too long once"
        } else {
            "chunks too long"
        };
        row(
            name,
            Behaviour {
                breaks,
                ..chunked()
            },
        );
    }

    for status in [403, 429, 503] {
        for places in [1, 4] {
            let access = Access::Places(places, status);
            row(
                &format!("{places} places, else {status}"),
                Behaviour { access, ..long() },
            );
        }
        let access = Access::Times(1, status);
        row(
            &format!("once, then {status}"),
            Behaviour { access, ..long() },
        );
        let access = Access::Times(3, status);
        row(
            &format!("three times, then {status}"),
            Behaviour { access, ..long() },
        );
        let access = Access::For(Duration::from_millis(150), status);
        row(
            &format!("for a while, then {status}"),
            Behaviour { access, ..long() },
        );
    }
    row(
        "once, cut",
        Behaviour {
            access: Access::Times(1, 410),
            breaks: cut(300, 1),
            ..usual()
        },
    );

    let changing = |behaviour| Behaviour {
        changes: true,
        ..behaviour
    };
    row("changes", changing(usual()));
    row("changes, long", changing(long()));
    row(
        "changes, cut once",
        changing(Behaviour {
            breaks: cut(500, 1),
            ..usual()
        }),
    );
    row(
        "changes, cut",
        changing(Behaviour {
            breaks: cut(500, ALWAYS),
            ..usual()
        }),
    );
    row(
        "changes, chunked, cut once",
        changing(Behaviour {
            breaks: cut(500, 1),
            ..chunked()
        }),
    );
    row(
        "changes, date alone",
        changing(Behaviour {
            validator: Validator::Date,
            ..long()
        }),
    );
    row(
        "changes, pauses",
        changing(Behaviour {
            pace: Pace::Pauses,
            ..chunked()
        }),
    );

    for (name, instead) in [
        ("204", Instead::NoContent),
        ("304", Instead::NotModified),
        ("301", Instead::Status(301)),
        ("401", Instead::Status(401)),
        ("404", Instead::Status(404)),
        ("429", Instead::Status(429)),
        ("500", Instead::Status(500)),
        ("503", Instead::Status(503)),
        ("no word", Instead::Nothing),
    ] {
        row(name, Behaviour { instead, ..usual() });
    }
    row(
        "100 before",
        Behaviour {
            interim: "HTTP/1.1 100 Continue\r\n\r\n",
            ..usual()
        },
    );
    row(
        "103 before",
        Behaviour {
            interim: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            ..long()
        },
    );

    for spelling in [
        Spelling::LengthTwice,
        Spelling::SpaceBeforeColon,
        Spelling::Identity,
        Spelling::Icy,
        Spelling::Http12,
        Spelling::NoReason,
        Spelling::ControlInField,
    ] {
        row(
            &format!("{spelling:?}"),
            Behaviour {
                spelling,
                ..usual()
            },
        );
    }
    row(
        "ZerosBeforeSize",
        Behaviour {
            spelling: Spelling::ZerosBeforeSize,
            ..chunked()
        },
    );
    row(
        "gzip",
        Behaviour {
            gzip: true,
            ..usual()
        },
    );
    row(
        "gzip, long",
        Behaviour {
            gzip: true,
            ..long()
        },
    );
    row(
        "gzip, cut once",
        Behaviour {
            gzip: true,
            breaks: cut(500, 1),
            ..usual()
        },
    );
    row(
        "uploads early",
        Behaviour {
            upload: Upload::Early,
            ..usual()
        },
    );
    row(
        "uploads echoed",
        Behaviour {
            upload: Upload::Echo,
            ..usual()
        },
    );
    rows
}

/// So many rows of this seed.
pub fn random(seed: u64, count: usize) -> Vec<Row> {
    let mut rng = Rng::with_seed(seed);
    (0..count)
        .map(|n| Row {
            name: format!("seed {seed}, {n}"),
            behaviour: made_of(&mut rng),
        })
        .collect()
}

/// One of these.
fn of<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}

fn made_of(rng: &mut Rng) -> Behaviour {
    let status = of(rng, &[403, 404, 410, 429, 500, 503]);
    let framing = of(
        rng,
        &[
            Framing::Length,
            Framing::Length,
            Framing::Chunked,
            Framing::Trailers,
            Framing::Close,
        ],
    );
    let pace = of(
        rng,
        &[
            Pace::AtOnce,
            Pace::AtOnce,
            Pace::Trickle,
            Pace::Trickle,
            Pace::Pauses,
        ],
    );
    let broken = Break {
        at: rng.usize(..1001),
        how: of(rng, &[How::Close, How::Close, How::Reset]),
        times: of(rng, &[1, 2, 3, ALWAYS]),
    };
    let ranges = of(
        rng,
        &[
            Ranges::Honoured,
            Ranges::Honoured,
            Ranges::Honoured,
            Ranges::Untold,
            Ranges::Ignored,
            Ranges::Refused(status),
            Ranges::Shifted,
            Ranges::Short,
            Ranges::TooMany,
            Ranges::Multipart,
            Ranges::OtherVersion,
        ],
    );
    // What a lie is cannot be told where each answer is another.
    let honest = matches!(ranges, Ranges::Honoured | Ranges::Untold | Ranges::Ignored);
    Behaviour {
        len: match pace {
            Pace::Trickle => rng.usize(100_000..LONG),
            _ => rng.usize(101..400_000),
        },
        validator: of(
            rng,
            &[
                Validator::Strong,
                Validator::Strong,
                Validator::Weak,
                Validator::Date,
                Validator::JustNow,
                Validator::Both,
                Validator::None,
            ],
        ),
        framing,
        ranges,
        pace,
        breaks: rng.bool().then_some(broken),
        access: of(
            rng,
            &[
                Access::Open,
                Access::Open,
                Access::Open,
                Access::Places(1, status),
                Access::Places(3, status),
                Access::Times(1, status),
                Access::Times(2, status),
            ],
        ),
        changes: honest && rng.u8(..4) == 0,
        gzip: rng.u8(..6) == 0,
        ..Behaviour::default()
    }
}
