//! Arbitrary requests to `Files`. Asserts: what passes the check is what was asked for and names one thing on the file
//! system, and what does not is a typed error without the path.

use std::os::unix::ffi::OsStrExt;

use baton_fuzz::Target;
use baton_proto::files::{
    FilesError as Detail, FindUpRequest, GlobRequest, GrepRequest, ListRequest, Place as WirePlace,
    ReadManyRequest, Selection, StatRequest,
};
use baton_proto::limits::{GLOB_MAX, GLOBS_MAX, MARKERS_MAX, NAME_MAX, PATH_MAX, PATTERN_MAX, READ_MANY_MAX};
use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Status};

use super::place::{Place, Target as PlaceTarget};
use super::request::{FileNames, Markers, RequestedPath};
use super::search::{GlobOrder, GrepOrder};

/// The input: an encoded `FindUpRequest`, which also decodes as a `StatRequest` if it has no marker; or a `ListRequest`; or
/// a `ReadManyRequest`; or a `GrepRequest`, whose first fields are those of a `GlobRequest`.
pub(crate) const REQUESTS: Target = Target {
    name: "files-requests",
    run,
    seeds,
};

fn run(input: &[u8]) {
    if let Ok(request) = StatRequest::decode(input) {
        check_path(request.path);
    }
    if let Ok(ListRequest { place }) = ListRequest::decode(input) {
        check_place(place);
    }
    if let Ok(ReadManyRequest { directory, names }) = ReadManyRequest::decode(input) {
        check_place(directory);
        check_names(&names);
    }
    if let Ok(request) = GlobRequest::decode(input) {
        check_glob(request);
    }
    if let Ok(request) = GrepRequest::decode(input) {
        check_grep(request);
    }
    let Ok(FindUpRequest { start, markers }) = FindUpRequest::decode(input) else {
        return;
    };
    check_path(start);
    match Markers::try_from(markers.clone()) {
        Ok(checked) => {
            assert!((1..=MARKERS_MAX).contains(&markers.len()));
            assert!(
                checked
                    .iter()
                    .map(OsStrExt::as_bytes)
                    .eq(markers.iter().map(|name| &name[..]))
            );
            for name in checked.iter() {
                let path = std::path::Path::new("/a").join(name);
                assert!(
                    name.len() <= NAME_MAX && path.file_name() == Some(name),
                    "{name:?}"
                );
                assert_eq!(path.parent(), Some("/a".as_ref()), "{name:?}");
            }
        }
        Err(error) => assert_typed(error.into()),
    }
}

fn check_glob(request: GlobRequest) {
    let selection = request.selection.clone().unwrap_or_default();
    match GlobOrder::try_from(request) {
        Ok(order) => {
            assert_bounded(&selection);
            order.compile().unwrap_or_else(|error| assert_typed(error.into()));
        }
        Err(error) => assert_typed(error.into()),
    }
}

fn check_grep(request: GrepRequest) {
    let selection = request.selection.clone().unwrap_or_default();
    let pattern_len = request.pattern.len();
    match GrepOrder::try_from(request) {
        Ok(order) => {
            assert_bounded(&selection);
            assert!((1..=PATTERN_MAX).contains(&pattern_len));
            order.compile().unwrap_or_else(|error| assert_typed(error.into()));
        }
        Err(error) => assert_typed(error.into()),
    }
}

fn assert_bounded(selection: &Selection) {
    for globs in [&selection.globs, &selection.excludes] {
        assert!(globs.len() <= GLOBS_MAX && globs.iter().all(|glob| glob.len() <= GLOB_MAX));
    }
}

fn check_place(asked: Option<WirePlace>) {
    let WirePlace { root, path } = asked.clone().unwrap_or_default();
    match Place::try_from(asked.clone()) {
        Ok(Place::Anywhere(_)) => assert!(root.is_none() && (path.is_empty() || path.starts_with(b"/"))),
        Ok(Place::Beneath { path: checked, .. }) => {
            assert!(root.is_some() && checked.is_relative() && !path.contains(&0));
        }
        Err(error) => {
            assert!(
                PlaceTarget::try_from(asked.clone()).is_err(),
                "a target that is no place"
            );
            assert_typed(error.into());
        }
    }
    match PlaceTarget::try_from(asked) {
        Ok(target) => {
            let name = target.name().as_bytes();
            assert!(path.ends_with(name) && !name.is_empty() && !name.contains(&b'/'));
            assert!(!matches!(name, b"." | b".."), "{name:?}");
        }
        Err(error) => assert_typed(error.into()),
    }
}

fn check_names(asked: &[Bytes]) {
    match FileNames::try_from(asked.to_vec()) {
        Ok(checked) => {
            assert!((1..=READ_MANY_MAX).contains(&asked.len()));
            assert!(
                checked
                    .iter()
                    .map(OsStrExt::as_bytes)
                    .eq(asked.iter().map(|name| &name[..]))
            );
            for name in checked.iter() {
                let path = std::path::Path::new("/a").join(name);
                assert!(
                    path.file_name() == Some(name) && path.parent() == Some("/a".as_ref()),
                    "{name:?}"
                );
            }
        }
        Err(error) => assert_typed(error.into()),
    }
}

fn check_path(asked: Bytes) {
    match RequestedPath::try_from(asked.clone()) {
        Ok(checked) => match checked.path() {
            None => assert!(asked.is_empty()),
            Some(path) => {
                assert!(path.is_absolute() && asked.len() <= PATH_MAX && !asked.contains(&0));
                assert_eq!(path.as_os_str().as_bytes(), asked);
            }
        },
        Err(error) => assert_typed(error.into()),
    }
}

fn assert_typed(status: Status) {
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(Detail::from_details(status.details()).is_some(), "{status:?}");
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let request = |start: &[u8], markers: &[&[u8]]| {
        FindUpRequest {
            start: Bytes::copy_from_slice(start),
            markers: markers.iter().map(|name| Bytes::copy_from_slice(name)).collect(),
        }
        .encode_to_vec()
    };
    let place = |root: Option<&'static [u8]>, path: &'static [u8]| {
        let place = WirePlace {
            root: root.map(Bytes::from_static),
            path: Bytes::from_static(path),
        };
        ListRequest { place: Some(place) }.encode_to_vec()
    };
    let many = |names: &[&'static [u8]]| {
        ReadManyRequest {
            directory: Some(WirePlace {
                root: Some(Bytes::from_static(b"/srv/project")),
                path: Bytes::from_static(b"src"),
            }),
            names: names.iter().map(|name| Bytes::from_static(name)).collect(),
        }
        .encode_to_vec()
    };
    let search = |pattern: &str, globs: &[&str]| {
        GrepRequest {
            place: Some(WirePlace {
                root: Some(Bytes::from_static(b"/srv")),
                path: Bytes::new(),
            }),
            selection: Some(Selection {
                globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
                excludes: vec!["target/".to_owned()],
                hidden: false,
                gitignore: true,
            }),
            pattern: pattern.to_owned(),
            before: 1,
            ..GrepRequest::default()
        }
        .encode_to_vec()
    };
    let long = [&b"/"[..], &[b'a'; PATH_MAX]].concat();
    vec![
        (
            "a-search",
            request(b"/srv/project/src", &[b".git", b"Cargo.toml"]),
        ),
        ("the-default-directory", request(b"", &[b".hg"])),
        ("relative", request(b"a/../b", &[b".git"])),
        ("nul", request(b"/a\0b", &[b".g\0t"])),
        ("too-long", request(&long, &[&[b'm'; NAME_MAX + 1]])),
        ("no-names", request(b"/", &[b"", b".", b"..", b"a/b"])),
        ("no-marker", request(b"/a", &[])),
        ("a-place", place(None, b"/srv/project/src")),
        (
            "a-place-below-a-root",
            place(Some(b"/srv/project"), b"src/../main.rs"),
        ),
        ("a-place-without-a-name", place(Some(b""), b"src/..")),
        (
            "an-absolute-place-below-a-root",
            place(Some(b"/srv"), b"/etc/passwd"),
        ),
        (
            "a-grep",
            search(r"fn \w+_at\b", &["*.{rs,toml}", "/src/**/[!a]?"]),
        ),
        ("a-pattern-too-large", search(r"\w{500}{500}", &[])),
        ("a-nested-pattern", search(&"(".repeat(500), &[&"{".repeat(500)])),
        (
            "a-pattern-that-is-none",
            search("[z-a]", &["[z-a]", "", "/", "\\"]),
        ),
        ("several-files", many(&[b"main.rs", b"lib.rs"])),
        ("several-files-without-names", many(&[b"..", b"a/b", b"", b"a\0"])),
        ("too-many-files", many(&[&b"a"[..]; READ_MANY_MAX + 1])),
        ("too-many", request(b"/a", &[&b"m"[..]; MARKERS_MAX + 1])),
        (
            "a-stat",
            StatRequest {
                path: Bytes::from_static(b"/etc/hostname"),
                follow: true,
            }
            .encode_to_vec(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_request_passes_its_check_as_another_than_it_was() {
    baton_fuzz::replay(&REQUESTS);
}
