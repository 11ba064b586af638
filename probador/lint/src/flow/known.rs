//! What calls into other packages and the standard library do to origins, by the kind of work they do.

/// What a method does whose source is not in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    /// Asks whether one text is in another.
    Compares(super::conditions::How),
    /// Looks something up by a key.
    LooksUp,
    /// Takes a command's sign off a text.
    Strips,
    /// Says how long something is, or whether it is empty.
    Measures,
    /// Asks what kind of character it is.
    Classifies,
    /// Takes a piece out of a text, or goes through its pieces.
    Takes,
    /// Reduces a text to a number that stands for it.
    Hashes,
    /// Reads a number that was typed.
    Parses,
    /// Draws one of several at random, or reads a clock.
    Draws,
    /// Goes through a list in turn.
    Cycles,
    /// Writes to its receiver.
    Writes,
    /// Sends what it is given to somebody.
    Sends,
    /// Adds to its receiver.
    Adds,
    /// Turns text into tokens.
    Encodes,
    /// Turns tokens into text.
    Decodes,
    /// Waits for a client or reads from one.
    Accepts,
    /// Hands a failure its words.
    Explains,
    /// Something in place of what is absent.
    Replaces,
    /// Keeps what it is given or changes it as a whole.
    Passes,
    /// Nothing is known of it.
    Unknown,
}

/// The kind of the method `name`.
pub(super) fn method(name: &str) -> Method {
    use super::conditions::How;
    match name {
        "contains" | "matches" | "is_match" | "find" | "rfind" | "contains_key" | "position" | "any"
        | "all" | "captures" | "captures_iter" | "find_iter" | "is_subset" | "is_superset"
        | "intersection" | "is_disjoint" | "match_indices" | "find_map" | "filter" | "rposition"
        | "fuzzy_match" | "levenshtein" | "similarity" | "is_some_and" | "is_none_or" | "is_ok_and" => {
            Method::Compares(How::Search)
        }
        "eq" | "ne" | "eq_ignore_ascii_case" | "cmp" | "partial_cmp" => Method::Compares(How::Whole),
        "starts_with" | "ends_with" => Method::Compares(How::Edge),
        "get"
        | "get_mut"
        | "get_or_insert_with"
        | "get_key_value"
        | "binary_search"
        | "binary_search_by"
        | "binary_search_by_key"
        | "get_many"
        | "nth"
        | "lookup"
        | "search"
        | "entry"
        | "remove"
        | "swap_remove"
        | "get_index"
        | "index" => Method::LooksUp,
        "strip_prefix" | "strip_suffix" => Method::Strips,
        "len" | "is_empty" | "count" | "is_some" | "is_none" | "is_ok" | "is_err" | "capacity"
        | "size_hint" | "is_char_boundary" | "is_terminal" | "display" | "width" => Method::Measures,
        "is_ascii_digit"
        | "is_digit"
        | "is_numeric"
        | "is_alphabetic"
        | "is_ascii_alphabetic"
        | "is_alphanumeric"
        | "is_ascii_alphanumeric"
        | "is_uppercase"
        | "is_ascii_uppercase"
        | "is_lowercase"
        | "is_ascii_lowercase"
        | "is_ascii_punctuation" => Method::Classifies,
        "chars"
        | "char_indices"
        | "split"
        | "split_whitespace"
        | "split_ascii_whitespace"
        | "splitn"
        | "rsplit"
        | "rsplitn"
        | "split_once"
        | "rsplit_once"
        | "split_terminator"
        | "split_at"
        | "windows"
        | "chunks"
        | "bytes"
        | "as_chunks"
        | "graphemes"
        | "unicode_words" => Method::Takes,
        "hash" | "finish" | "finalize" | "hash_one" | "digest" | "update" | "chain_update" | "checksum" => {
            Method::Hashes
        }
        "parse" => Method::Parses,
        "choose" | "choose_multiple" | "gen_range" | "random_range" | "random" | "gen" | "next_u32"
        | "next_u64" | "shuffle" | "sample_iter" | "elapsed" | "subsec_nanos" | "subsec_millis"
        | "subsec_micros" | "duration_since" | "as_nanos" | "fetch_add" | "fetch_sub" | "random_bool"
        | "usize" | "pick" => Method::Draws,
        "cycle" => Method::Cycles,
        "write_all" | "write" | "write_str" | "write_fmt" | "write_vectored" | "write_line" => Method::Writes,
        "send" | "try_send" | "blocking_send" | "unbounded_send" | "send_all" | "send_text" | "respond"
        | "send_response" | "yield_item" => Method::Sends,
        "push" | "push_str" | "extend" | "extend_from_slice" | "insert" | "insert_str" | "append"
        | "push_back" | "push_front" | "add" | "copy_from_slice" | "clone_from" | "clone_into"
        | "clone_from_slice" | "fill" | "replace_range" | "resize" | "set" | "store" | "swap"
        | "get_or_insert" => Method::Adds,
        "encode"
        | "tokenize"
        | "encode_ordinary"
        | "encode_batch"
        | "encode_with_special_tokens"
        | "text_to_ids" => Method::Encodes,
        "decode" | "detokenize" | "decode_batch" | "ids_to_text" | "id_to_token" | "token_to_str"
        | "token_to_string" => Method::Decodes,
        "accept" | "incoming" | "incoming_requests" => Method::Accepts,
        "context" | "with_context" | "expect" | "expect_err" | "ok_or" | "ok_or_else" | "wrap_err"
        | "wrap_err_with" | "map_err" => Method::Explains,
        "unwrap_or" | "unwrap_or_else" | "or" | "or_else" | "map_or" | "map_or_else" | "or_insert"
        | "or_insert_with" => Method::Replaces,
        "iter" | "iter_mut" | "into_iter" | "map" | "flat_map" | "filter_map" | "for_each" | "fold"
        | "sum" | "product" | "rev" | "zip" | "enumerate" | "skip" | "take" | "take_while" | "skip_while"
        | "map_while" | "collect" | "next" | "last" | "first" | "max" | "min" | "max_by" | "min_by"
        | "max_by_key" | "min_by_key" | "copied" | "cloned" | "clone" | "to_owned" | "to_string"
        | "to_vec" | "as_str" | "as_bytes" | "as_ref" | "as_mut" | "as_deref" | "into" | "try_into"
        | "unwrap" | "unwrap_or_default" | "ok" | "err" | "and_then" | "and" | "trim" | "trim_end"
        | "trim_start" | "trim_matches" | "trim_end_matches" | "trim_start_matches" | "to_lowercase"
        | "to_uppercase" | "to_ascii_lowercase" | "to_ascii_uppercase" | "replace" | "replacen"
        | "replace_all" | "join" | "concat" | "repeat" | "lines" | "read_line" | "read_to_string"
        | "read_to_end" | "read" | "read_exact" | "read_until" | "read_vectored" | "take_mut" | "by_ref"
        | "lock" | "unlock" | "borrow" | "borrow_mut" | "deref" | "values" | "keys" | "into_values"
        | "into_keys" | "drain" | "retain" | "dedup" | "sort" | "sort_by" | "sort_by_key"
        | "sort_unstable" | "reverse" | "truncate" | "clear" | "pop" | "pop_front" | "wrapping_add"
        | "wrapping_mul" | "wrapping_sub" | "rotate_left" | "rotate_right" | "pow" | "abs" | "rem_euclid"
        | "as_slice" | "as_mut_slice" | "into_bytes" | "into_string" | "into_boxed_str" | "peekable"
        | "peek" | "step_by" | "scan" | "inspect" | "chain" | "partition" | "unzip" | "flatten" | "then"
        | "then_some" | "then_with" | "into_owned" | "get_ref" | "get_unchecked" | "to_le_bytes"
        | "to_bits" | "await" | "recv" | "try_recv" | "blocking_recv" | "extract" | "dedup_by_key" => {
            Method::Passes
        }
        _ => Method::Unknown,
    }
}

/// Whether a function of another package keeps what it is given, knowing nothing of its own.
pub(super) fn is_plain_constructor(path: &[String]) -> bool {
    let Some(last) = path.last() else { return false };
    let owner = path.len().checked_sub(2).map_or("", |at| path[at].as_str());
    let of_std = matches!(path.first().map(String::as_str), Some("std" | "core" | "alloc"));
    let wraps = [
        "Some",
        "Ok",
        "Json",
        "Html",
        "Sse",
        "Response",
        "Body",
        "Bytes",
        "Form",
        "Cow",
        "String",
        "Vec",
        "VecDeque",
        "Box",
        "Arc",
        "Rc",
        "Cell",
        "RefCell",
        "Mutex",
        "RwLock",
        "OnceCell",
        "OnceLock",
        "LazyLock",
        "LazyCell",
        "Lazy",
        "Pin",
        "HashMap",
        "BTreeMap",
        "HashSet",
        "BTreeSet",
        "IndexMap",
        "BufReader",
        "BufWriter",
        "LineWriter",
        "Reverse",
        "Wrapping",
        "Cursor",
        "Logits",
        "Tensor",
        "Array",
        "Array1",
        "Array2",
        "ArrayD",
        "Path",
        "PathBuf",
        "OsString",
        "CString",
        "Stream",
        "Event",
        "Message",
        "from_utf8",
        "from_utf8_lossy",
    ];
    of_std
        || wraps.contains(&owner)
        || wraps.contains(&last.as_str())
        || (path.len() == 1 && last.starts_with(char::is_uppercase))
}

/// Whether a value of this type finds text.
pub(super) fn is_matcher(path: &[String]) -> bool {
    path.iter().any(|part| {
        [
            "Regex",
            "AhoCorasick",
            "Glob",
            "Matcher",
            "Trie",
            "Hasher",
            "Levenshtein",
            "Fst",
            "Sha",
            "Md5",
            "Blake",
            "Crc",
        ]
        .iter()
        .any(|kind| part.contains(kind))
    })
}

/// Whether a function of this name runs a model.
pub(super) fn runs_model(name: &str) -> bool {
    [
        "forward",
        "generate",
        "infer",
        "predict",
        "complete",
        "completion",
        "prefill",
        "logits",
        "eval",
        "sample",
        "chat",
        "run",
        "ask",
        "prompt",
    ]
    .iter()
    .any(|word| name == *word || name.starts_with(&format!("{word}_")) || name.ends_with(&format!("_{word}")))
}

/// Whether a text names a file, a place or a part rather than saying something.
pub(super) fn is_name(text: &str) -> bool {
    !text.contains(char::is_whitespace)
        && (text.contains(['/', '\\', '_'])
            || text
                .rsplit_once('.')
                .is_some_and(|(head, tail)| !head.is_empty() && (1..=12).contains(&tail.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constructor_that_keeps_what_it_is_given_is_known_by_its_path() {
        let cases = [
            ("std::mem::take", true),
            ("Some", true),
            ("Thing", true),
            ("axum::Json", true),
            ("Arc::new", true),
            ("String::from_utf8", true),
            ("thing", false),
            ("llm::Model::load", false),
            ("", false),
        ];
        for (path, expected) in cases {
            let path: Vec<String> =
                path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            assert_eq!(is_plain_constructor(&path), expected, "{path:?}");
        }
    }

    #[test]
    fn what_runs_a_model_is_known_by_a_whole_word_of_its_name() {
        for (name, expected) in [
            ("generate", true),
            ("chat_with", true),
            ("text_completion", true),
            ("generator", false),
            ("rerun", false),
            ("tokenize", false),
        ] {
            assert_eq!(runs_model(name), expected, "{name}");
        }
    }
}
