//! Suggests the setting that a misspelt key may have meant.

/// Required similarity of two keys, 0 to 1.
const ALIKE: f64 = 0.7;

/// The known key or section most similar to `key`; none if none is similar enough.
pub(super) fn nearest(key: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let likeness = |other: &str| {
        let alike = strsim::normalized_damerau_levenshtein(key, other);
        // The right name in the wrong section.
        let named = last(key) == last(other);
        if named { alike.max(ALIKE) } else { alike }
    };
    let sections = known.iter().flat_map(|key| {
        let dots = key.match_indices('.');
        dots.map(|(at, _)| &key[..at])
    });
    let candidates = known.iter().map(String::as_str).chain(sections);
    let (likeness, nearest) = candidates
        .map(|other| (likeness(other), other))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness >= ALIKE).then(|| nearest.to_owned())
}

/// The environment's variable for a key: `FILEPROXY__ORIGIN__URL` for `origin.url`.
pub(super) fn variable_of(key: &str) -> String {
    format!("FILEPROXY__{}", key.replace('.', "__").to_uppercase())
}
