//! The names of the GenAI conventions stand in one file.

use std::path::Path;

use baton_support::sources::rust_files;

#[test]
fn no_other_source_file_has_a_name_of_the_genai_conventions() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&sources);
    let mut names = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a source file");
        // A name in a comment is not used; a literal is.
        let literals = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = literals.filter(|line| line.contains("gen_ai.")).count();
        match file.ends_with("semconv.rs") {
            true => names += found,
            false => assert_eq!(found, 0, "{} has such a name", file.display()),
        }
    }
    assert!(names >= 10, "{names} names in {} files", files.len());
}
