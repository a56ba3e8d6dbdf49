//! What a scan promises, on texts made by hand. The properties are in [`against_serde_json`].

mod against_serde_json;

use super::*;

fn set(pointers: &[&str]) -> PointerSet {
    let pointers: Vec<_> = pointers.iter().map(|text| Pointer::parse(text).unwrap()).collect();
    PointerSet::new(&pointers)
}

/// The raw tokens that pointers find.
fn find<'a>(text: &'a str, pointers: &[&str]) -> Vec<Option<&'a str>> {
    let mut fields = Fields::default();
    set(pointers).scan(text.as_bytes(), Utf8::Unchecked, &mut fields).unwrap();
    (0..pointers.len()).map(|slot| fields.get(slot).map(|span| &text[span.start as usize..span.end as usize])).collect()
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    let mut fields = Fields::default();
    let error = set(&["", "/a/b"]).scan(text.as_ref(), Utf8::Unchecked, &mut fields).unwrap_err();
    assert_eq!((fields.get(0), fields.get(1)), (None, None), "an error leaves nothing behind");
    error.to_string()
}

fn is_valid(text: &[u8]) -> bool {
    PointerSet::default().scan(text, Utf8::Unchecked, &mut Fields::default()).is_ok()
}

const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;

#[test]
fn a_trade_is_found_as_it_stands_in_the_text() {
    assert_eq!(
        find(TRADE, &["/stream", "/data/t", "/data/s", "/data/E", "/data/p", "/data/M", "/data/x", "/data/t/x"]),
        [
            Some(r#""btcusdt@trade""#),
            Some("3735683259"),
            Some(r#""BTCUSDT""#),
            Some("1723161255343"),
            Some(r#""61837.63000000""#),
            Some("true"),
            None,
            None
        ]
    );
}

/// The document and the table of RFC 6901, section 5.
#[test]
fn the_examples_of_rfc_6901_are_found() {
    let text = r#"{
      "foo": ["bar", "baz"],
      "": 0,
      "a/b": 1,
      "c%d": 2,
      "e^f": 3,
      "g|h": 4,
      "i\\j": 5,
      "k\"l": 6,
      " ": 7,
      "m~n": 8
   }"#;
    let examples = [
        ("", text),
        ("/foo", r#"["bar", "baz"]"#),
        ("/foo/0", r#""bar""#),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ];
    let pointers = examples.map(|(pointer, _)| pointer);
    assert_eq!(find(text, &pointers), examples.map(|(_, value)| Some(value)));
    for (pointer, value) in examples {
        assert_eq!(find(text, &[pointer]), [Some(value)], "{pointer} alone");
    }
}

#[test]
fn array_indexes_are_plain_decimal_numbers() {
    let text = r#"[10,[11,12],{"0":13,"01":14,"-":15},16]"#;
    assert_eq!(
        find(text, &["/0", "/1/1", "/2/0", "/2/01", "/2/-", "/3"]),
        [Some("10"), Some("12"), Some("13"), Some("14"), Some("15"), Some("16")]
    );
    for none in ["/00", "/01", "/-", "/4", "/+1", "/1e0", "/1/2", "/", "/18446744073709551616", "/4294967296"] {
        assert_eq!(find(text, &[none]), [None], "{none}");
    }
}

#[test]
fn the_first_of_repeated_keys_counts_also_on_the_way() {
    let text = r#"{"a":{"b":1,"b":2},"a":{"b":3,"c":4},"\u0061":{"d":5}}"#;
    assert_eq!(find(text, &["/a/b", "/a/c", "/a/d", "/a"]), [Some("1"), None, None, Some(r#"{"b":1,"b":2}"#)]);
    assert_eq!(find(r#"{"a":0,"a":{"b":1}}"#, &["/a/b", "/a"]), [None, Some("0")]);
    assert_eq!(find(r#"{"\u0061":1,"a":2}"#, &["/a"]), [Some("1")]);
}

#[test]
fn keys_are_compared_decoded() {
    let text = r#"{"\u0073tream":1,"long key \u006ff many bytes":2,"\ud83d\ude00":3,"a\/b":4,"\t":5,"abcdefg":6,"abcdefgh":7}"#;
    let pointers = [
        "/stream",
        "/long key of many bytes",
        "/😀",
        "/a~1b",
        "/\t",
        "/abcdefg",
        "/abcdefgh",
        "/abcdefg\"h",
        "/a\\~1b",
    ];
    let found = ["1", "2", "3", "4", "5", "6", "7"].map(Some);
    assert_eq!(find(text, &pointers)[..7], found);
    assert_eq!(find(text, &pointers)[7..], [None, None]);
    assert_eq!(find(r#"{"abcdefg":1}"#, &["/abcdefg\"h"]), [None], "a key's closing quote is no part of it");
    assert_eq!(find(r#"{"abcdefg\"h":1,"abcdefg":2}"#, &["/abcdefg\"h", "/abcdefg"]), [Some("1"), Some("2")]);
}

#[test]
fn equal_pointers_all_get_their_value() {
    assert_eq!(find(r#"{"a":[1]}"#, &["/a/0", "/a", "/a/0", "/a/0"]), [Some("1"), Some("[1]"), Some("1"), Some("1")]);
}

#[test]
fn a_pointer_and_one_through_it_are_both_found() {
    let text = r#" {"a" : {"b" : [ ] , "c":{}} } "#;
    assert_eq!(
        find(text, &["", "/a", "/a/b", "/a/b/0", "/a/c", "/a/c/d"]),
        [Some(text.trim()), Some(r#"{"b" : [ ] , "c":{}}"#), Some("[ ]"), None, Some("{}"), None]
    );
}

#[test]
fn fields_of_one_text_never_show_up_in_the_next() {
    let (wide, narrow) = (set(&["/a", "/b", "/c/0"]), set(&["/b"]));
    let mut fields = Fields::default();
    for _ in 0..3 {
        wide.scan(br#"{"a":1,"b":2,"c":[3]}"#, Utf8::Checked, &mut fields).unwrap();
        assert!((0..3).all(|slot| fields.get(slot).is_some()));
        narrow.scan(br#"{"a":1}"#, Utf8::Checked, &mut fields).unwrap();
        assert!((0..3).all(|slot| fields.get(slot).is_none()));
        wide.scan(br#"{"b":1}"#, Utf8::Checked, &mut fields).unwrap();
        assert_eq!([0, 1, 2].map(|slot| fields.get(slot).is_some()), [false, true, false]);
        wide.scan(br#"{"b":1"#, Utf8::Checked, &mut fields).unwrap_err();
        assert!((0..3).all(|slot| fields.get(slot).is_none()));
    }
}

#[test]
fn the_count_of_scans_may_wrap_around() {
    let set = set(&["/a"]);
    let mut fields = Fields::default();
    set.scan(b"{}", Utf8::Checked, &mut fields).unwrap();
    fields.scan = u32::MAX - 1;
    for _ in 0..3 {
        set.scan(br#"{"a":1}"#, Utf8::Checked, &mut fields).unwrap();
        assert!(fields.get(0).is_some());
    }
}

#[test]
fn a_refusal_says_where_and_why() {
    for (text, message) in [
        ("", "invalid JSON at byte 0: the text ends within a value"),
        ("  ", "invalid JSON at byte 2: the text ends within a value"),
        ("tru", "invalid JSON at byte 3: the text ends within a value"),
        ("trux", "invalid JSON at byte 0: expected a value"),
        ("nan", "invalid JSON at byte 0: expected a value"),
        (r#"{"a" 1}"#, "invalid JSON at byte 5: expected `:`"),
        (r#"{"a":1 "b":2}"#, "invalid JSON at byte 7: expected `,` or `}`"),
        (r#"{"a":1]"#, "invalid JSON at byte 6: expected `,` or `}`"),
        ("[1}", "invalid JSON at byte 2: expected `,` or `]`"),
        (r#"{"a":[1 2]}"#, "invalid JSON at byte 8: expected `,` or `]`"),
        (r#"{"a":1,}"#, "invalid JSON at byte 7: expected a key in quotes"),
        ("{a:1}", "invalid JSON at byte 1: expected a key in quotes"),
        ("[1,]", "invalid JSON at byte 3: expected a value"),
        ("[01]", "invalid JSON at byte 2: expected `,` or `]`"),
        ("[-]", "invalid JSON at byte 2: expected a digit"),
        ("[1.]", "invalid JSON at byte 3: expected a digit"),
        ("[1e+]", "invalid JSON at byte 4: expected a digit"),
        ("[+1]", "invalid JSON at byte 1: expected a value"),
        ("\"a\nb\"", "invalid JSON at byte 2: bare control character in a string"),
        (r#""a\x""#, "invalid JSON at byte 3: invalid escape in a string"),
        (r#""\u00g0""#, "invalid JSON at byte 5: invalid escape in a string"),
        (r#""\ud800""#, "invalid JSON at byte 7: half a surrogate pair in a string"),
        (r#""\ud800\u0061""#, "invalid JSON at byte 7: half a surrogate pair in a string"),
        (r#""\udc00""#, "invalid JSON at byte 3: half a surrogate pair in a string"),
        ("{} {}", "invalid JSON at byte 3: something follows the value"),
        ("1\u{a0}", "invalid JSON at byte 1: something follows the value"),
        ("\u{feff}{}", "invalid JSON at byte 0: expected a value"),
    ] {
        assert_eq!(refusal(text), message, "{text}");
    }
    assert_eq!(refusal(b"[\"a\xff\"]"), "invalid JSON at byte 3: not UTF-8");
    assert_eq!(refusal(b"\"a\0\""), "invalid JSON at byte 2: bare control character in a string");
    assert_eq!(refusal(b"{}\0"), "invalid JSON at byte 2: something follows the value");
    assert_eq!(refusal(b"\0"), "invalid JSON at byte 0: expected a value");
}

/// `opening` as often as said, and what closes it.
fn nested(opening: &str, inner: &str, closing: &str, depth: usize) -> String {
    [&opening.repeat(depth), inner, &closing.repeat(depth)].concat()
}

#[test]
fn containers_may_nest_128_deep_and_no_deeper() {
    let through = format!("{}/b", "/a".repeat(127));
    let beside = format!("{}/b", "/a".repeat(60));
    let along_arrays = "/0".repeat(128);
    for pointers in [&[][..], &[through.as_str(), &beside], &[along_arrays.as_str()]] {
        let set = set(pointers);
        for (opening, inner, closing) in
            [("[", "1", "]"), ("[", "", "]"), (r#"{"a":"#, "{}", "}"), (r#"[{"a":"#, "[]", "}]")]
        {
            // Brackets in `opening` and `inner` count, too.
            let step = opening.matches(['[', '{']).count();
            let least = inner.matches(['[', '{']).count();
            for count in 1..140 {
                let text = nested(opening, inner, closing, count);
                let scanned = set.scan(text.as_bytes(), Utf8::Checked, &mut Fields::default());
                if count * step + least <= 128 {
                    assert_eq!(scanned, Ok(()), "{text}");
                } else {
                    let kind = scanned.map_err(|error| error.kind);
                    assert_eq!(kind, Err(ScanErrorKind::TooDeep), "{text}");
                }
            }
        }
    }
    let deepest = nested(r#"{"a":"#, r#"{"b":1}"#, "}", 127);
    assert_eq!(find(&deepest, &[&through]), [Some("1")]);
}

#[test]
fn the_room_left_counts_the_containers_around() {
    // Everything is found after the first member, so that the second one is only skipped.
    let set = set(&["/a/b"]);
    for (count, fits) in [(126, true), (127, false)] {
        for text in [
            format!(r#"{{"a":{{"b":1,"c":{}}}}}"#, nested("[", "", "]", count)),
            format!(r#"{{"a":{{"c":{},"b":1}}}}"#, nested("[", "", "]", count)),
            format!(r#"{{"a":{{"b":{}}}}}"#, nested("[", "", "]", count)),
            format!(r#"{{"a":{{"b":1}},"c":[{}]}}"#, nested("[", "", "]", count)),
        ] {
            assert_eq!(set.scan(text.as_bytes(), Utf8::Checked, &mut Fields::default()).is_ok(), fits, "{text}");
        }
    }
}

#[test]
fn a_million_brackets_are_refused_at_the_129th() {
    for (opening, per_level) in [("[", 1), (r#"{"a":"#, 5)] {
        let text = opening.repeat(1_000_000);
        for pointers in [&[][..], &["/a/a/a", "/0/0/0"]] {
            let error = set(pointers).scan(text.as_bytes(), Utf8::Checked, &mut Fields::default()).unwrap_err();
            assert_eq!(error, ScanError { at: 128 * per_level, kind: ScanErrorKind::TooDeep });
        }
    }
}

#[test]
fn every_truncation_of_an_object_is_refused() {
    let escapes =
        r#" {"a\n":[{"b":"\ud83d\ude00 \\"},-1.5e+10,null,"ü, a string longer than a word"],"c":{"d":false}}"#;
    for text in [TRADE, escapes] {
        assert!(is_valid(text.as_bytes()));
        for pointers in [&[][..], &["/data/t", "/a~1b", "/c/d"]] {
            let set = set(pointers);
            for length in 0..text.len() {
                let error = set.scan(&text.as_bytes()[..length], Utf8::Checked, &mut Fields::default()).unwrap_err();
                assert_eq!(
                    error,
                    ScanError { at: length, kind: ScanErrorKind::UnexpectedEnd },
                    "{}",
                    &text[..length.min(90)]
                );
            }
        }
    }
}

#[test]
fn elements_are_given_in_order() {
    let text = r#"{"a": [ 1 ,"]",[2,[]], {"b":[3]} ],"b":[],"c":[ ],"d":"[1]"}"#;
    let mut fields = Fields::default();
    set(&["/a", "/b", "/c", "/d"]).scan(text.as_bytes(), Utf8::Checked, &mut fields).unwrap();
    let elements = |slot| -> Vec<&str> {
        elements(text.as_bytes(), fields.get(slot).unwrap())
            .map(|span| std::str::from_utf8(span.of(text.as_bytes())).unwrap())
            .collect()
    };
    assert_eq!(elements(0), ["1", "\"]\"", "[2,[]]", r#"{"b":[3]}"#]);
    for none in 1..4 {
        assert!(elements(none).is_empty());
    }
}
