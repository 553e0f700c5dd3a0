//! Reads the module graph of a crate from the tokens of its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

use crate::graph::{Graph, Location};

/// The text of each file.
pub(crate) type Sources = BTreeMap<PathBuf, String>;

/// The graph of the crate with this root file, or the reason why it cannot be determined.
pub(crate) fn read(sources: &Sources, root: &Path) -> Result<Graph, String> {
    let mut reader = Reader {
        sources,
        children: BTreeSet::new(),
        exports: BTreeMap::new(),
        globs: Vec::new(),
        macros: BTreeMap::new(),
        references: Vec::new(),
    };
    reader.file(root, &[], root.parent().unwrap(), false)?;
    reader.graph()
}

/// A path in the code of a module.
struct Reference {
    /// The module that contains the path.
    module: Vec<String>,
    /// The path from the crate root.
    path: Vec<String>,
    file: PathBuf,
    line: usize,
}

struct Reader<'a> {
    sources: &'a Sources,
    /// The direct children of the root.
    children: BTreeSet<String>,
    /// The names that the root imports from its children, each with its path.
    exports: BTreeMap<String, Vec<String>>,
    /// The paths that the root imports by a glob, each with the error to report if it is a child.
    globs: Vec<(Vec<String>, String)>,
    /// For each macro that other modules can use by its bare name, the child that defines it.
    macros: BTreeMap<String, String>,
    references: Vec<Reference>,
}

/// The position of the tokens that are being read.
#[derive(Clone, Copy)]
struct Scope<'a> {
    module: &'a [String],
    file: &'a Path,
    /// The folder with the files of child modules.
    folder: &'a Path,
    /// Whether the module has the attribute `#[macro_use]`.
    is_macro_use: bool,
}

type Tokens = Vec<TokenTree>;

impl Reader<'_> {
    fn file(
        &mut self,
        file: &Path,
        module: &[String],
        folder: &Path,
        is_macro_use: bool,
    ) -> Result<(), String> {
        let text = &self.sources[file];
        let tokens: TokenStream = text
            .parse()
            .map_err(|error| format!("{}: {error}", file.display()))?;
        self.items(
            tokens,
            Scope {
                module,
                file,
                folder,
                is_macro_use,
            },
        )
    }

    /// Reads the tokens of a file, of a module's body, or of any other group.
    fn items(&mut self, tokens: TokenStream, scope: Scope<'_>) -> Result<(), String> {
        let tokens: Tokens = tokens.into_iter().collect();
        let mut at = 0;
        let mut attributes = Vec::new();
        while at < tokens.len() {
            if is_sign(&tokens[at], '#') {
                let is_inner = tokens.get(at + 1).is_some_and(|token| is_sign(token, '!'));
                let group = at + 1 + usize::from(is_inner);
                if let Some(TokenTree::Group(attribute)) = tokens.get(group)
                    && attribute.delimiter() == Delimiter::Bracket
                {
                    let is_test = is_test_only(attribute.stream());
                    if is_test && is_inner {
                        return Ok(());
                    }
                    at = group + 1;
                    if is_test {
                        at = end_of_item(&tokens, at);
                        attributes.clear();
                    } else {
                        attributes.push(attribute.stream().to_string());
                    }
                    continue;
                }
            }
            at = match &tokens[at] {
                TokenTree::Ident(word) if word == "mod" => self.module(&tokens, at, &attributes, scope)?,
                // Not `impl Trait + use<'a>`.
                TokenTree::Ident(word)
                    if word == "use" && !tokens.get(at + 1).is_some_and(|it| is_sign(it, '<')) =>
                {
                    self.import(&tokens, at, scope)?
                }
                TokenTree::Ident(word) if word == "macro_rules" => {
                    self.define_macro(&tokens, at, &attributes, scope);
                    at + 3
                }
                TokenTree::Ident(word) => self.path(word, &tokens, at, scope)?,
                TokenTree::Group(group) => {
                    self.items(group.stream(), scope)?;
                    at + 1
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
            };
            // The attributes apply to the item that begins here. `pub` and `unsafe` only precede the item.
            let is_before = |token: &TokenTree| match token {
                TokenTree::Ident(word) => word == "pub" || word == "unsafe",
                TokenTree::Group(group) => group.delimiter() == Delimiter::Parenthesis,
                _ => false,
            };
            if !tokens.get(at - 1).is_some_and(is_before) {
                attributes.clear();
            }
        }
        Ok(())
    }

    /// Reads `mod name;` or `mod name { ... }` and returns the index after it.
    fn module(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        attributes: &[String],
        scope: Scope<'_>,
    ) -> Result<usize, String> {
        let (Some(TokenTree::Ident(name)), Some(body)) = (tokens.get(at + 1), tokens.get(at + 2)) else {
            return Ok(at + 1);
        };
        let name = name.to_string();
        if scope.module.is_empty() {
            self.children.insert(name.clone());
        }
        let module = [scope.module, std::slice::from_ref(&name)].concat();
        let folder = scope.folder.join(&name);
        let is_macro_use = attributes.iter().any(|attribute| attribute == "macro_use")
            && (scope.module.is_empty() || scope.is_macro_use);
        match body {
            TokenTree::Group(body) => self.items(
                body.stream(),
                Scope {
                    module: &module,
                    folder: &folder,
                    is_macro_use,
                    ..scope
                },
            )?,
            _ if attributes.iter().any(|attribute| attribute.starts_with("path")) => {
                return Err(format!("{}: #[path] is not read", scope.file.display()));
            }
            _ => {
                let files = [scope.folder.join(format!("{name}.rs")), folder.join("mod.rs")];
                let Some(file) = files.iter().find(|file| self.sources.contains_key(*file)) else {
                    return Err(format!("{}: no file for {name}", scope.file.display()));
                };
                self.file(file, &module, &folder, is_macro_use)?;
            }
        }
        Ok(at + 3)
    }

    /// Reads `use ...;` and returns the index after it.
    fn import(&mut self, tokens: &[TokenTree], at: usize, scope: Scope<'_>) -> Result<usize, String> {
        let end = end_of_statement(tokens, at);
        let mut leaves = Vec::new();
        leaves_of(&tokens[at + 1..end], &[], &mut leaves);
        for leaf in leaves {
            let first = leaf.path.first().map(String::as_str);
            let is_local = matches!(first, Some("crate" | "super" | "self"));
            if !is_local && !scope.module.is_empty() {
                continue;
            }
            let path = if is_local {
                absolute(&leaf.path, scope.module)
            } else {
                leaf.path.clone()
            };
            if scope.module.is_empty() {
                if leaf.name == "*" {
                    self.globs.push((path, glob(scope.file, leaf.line)));
                } else {
                    self.exports.insert(leaf.name, path);
                }
            } else {
                self.refer(path, leaf.line, scope)?;
            }
        }
        Ok(end + 1)
    }

    /// Reads a path outside of an import, or the use of a macro, and returns the index after its first part.
    fn path(
        &mut self,
        word: &Ident,
        tokens: &[TokenTree],
        at: usize,
        scope: Scope<'_>,
    ) -> Result<usize, String> {
        let line = word.span().start().line;
        if tokens.get(at + 1).is_some_and(|token| is_sign(token, '!')) {
            self.references.push(Reference {
                module: scope.module.to_vec(),
                path: vec![format!("{word}!")],
                file: scope.file.to_owned(),
                line,
            });
        }
        if word != "crate" && word != "super" && word != "self" {
            return Ok(at + 1);
        }
        let mut path = vec![word.to_string()];
        let mut next = at + 1;
        while let (Some(first), Some(second), Some(TokenTree::Ident(part))) =
            (tokens.get(next), tokens.get(next + 1), tokens.get(next + 2))
            && is_sign(first, ':')
            && is_sign(second, ':')
        {
            path.push(part.to_string());
            next += 3;
        }
        if path.len() > 1 {
            self.refer(absolute(&path, scope.module), line, scope)?;
        }
        Ok(next)
    }

    fn refer(&mut self, path: Vec<String>, line: usize, scope: Scope<'_>) -> Result<(), String> {
        if path == ["*"] {
            return Err(glob(scope.file, line));
        }
        self.references.push(Reference {
            module: scope.module.to_vec(),
            path,
            file: scope.file.to_owned(),
            line,
        });
        Ok(())
    }

    /// Reads `macro_rules! name { ... }`, which other modules may use as `name!` or as `crate::name!`.
    fn define_macro(&mut self, tokens: &[TokenTree], at: usize, attributes: &[String], scope: Scope<'_>) {
        let (Some(TokenTree::Ident(name)), Some(child)) = (tokens.get(at + 2), scope.module.first()) else {
            return;
        };
        if scope.is_macro_use {
            self.macros.insert(format!("{name}!"), child.clone());
        }
        if attributes.iter().any(|attribute| attribute == "macro_export") {
            self.exports.insert(name.to_string(), vec![child.clone()]);
        }
    }

    fn graph(self) -> Result<Graph, String> {
        let is_child = |path: &[String]| path.first().is_some_and(|name| self.children.contains(name));
        if let Some((_, error)) = self.globs.iter().find(|(path, _)| is_child(path)) {
            return Err(error.clone());
        }
        let mut graph = Graph::default();
        for reference in &self.references {
            let Some(from) = reference.module.first() else {
                continue;
            };
            let Some(to) = self.child(&reference.path) else {
                continue;
            };
            if from != to {
                let location = Location {
                    file: reference.file.clone(),
                    line: reference.line,
                    path: match reference.path.first() {
                        Some(name) if name.ends_with('!') => name.clone(),
                        _ => format!("crate::{}", reference.path.join("::")),
                    },
                };
                graph.add(from, to, location);
            }
        }
        Ok(graph)
    }

    /// The child of the root that contains the item of this path.
    fn child<'a>(&'a self, path: &'a [String]) -> Option<&'a String> {
        let first = path.first()?;
        if let Some(child) = self.macros.get(first).or_else(|| self.children.get(first)) {
            return Some(child);
        }
        let exported = self.exports.get(first)?.first()?;
        self.children.get(exported)
    }
}

fn glob(file: &Path, line: usize) -> String {
    let file = file.display();
    format!("{file}:{line}: a glob of the root hides which module is named: write the names out")
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// Resolves a path that begins with `crate`, `super` or `self` to a path from the crate root.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let mut absolute = module.to_vec();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match first.as_str() {
            "crate" => absolute.clear(),
            "super" => drop(absolute.pop()),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    absolute.extend_from_slice(rest);
    absolute
}

/// One name that a `use` imports.
struct Leaf {
    path: Vec<String>,
    name: String,
    line: usize,
}

/// The names that the tree of a `use` imports, each with its whole path.
fn leaves_of(tokens: &[TokenTree], before: &[String], leaves: &mut Vec<Leaf>) {
    for tree in tokens.split(|token| is_sign(token, ',')) {
        let mut path = before.to_vec();
        let mut name = None;
        let mut line = 0;
        let mut is_group = false;
        let mut tree = tree.iter();
        while let Some(token) = tree.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    name = tree.next().map(ToString::to_string);
                }
                TokenTree::Ident(word) => {
                    line = word.span().start().line;
                    if word != "self" || path.is_empty() {
                        path.push(word.to_string());
                    }
                }
                TokenTree::Punct(sign) if sign.as_char() == '*' => {
                    line = sign.span().start().line;
                    path.push("*".into());
                }
                TokenTree::Group(group) => {
                    let tokens: Tokens = group.stream().into_iter().collect();
                    leaves_of(&tokens, &path, leaves);
                    is_group = true;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        if let Some(last) = path.last()
            && !is_group
            && line > 0
        {
            let name = name.unwrap_or_else(|| last.clone());
            leaves.push(Leaf { path, name, line });
        }
    }
}

/// The index of the `;` that ends the item at this index.
fn end_of_statement(tokens: &[TokenTree], at: usize) -> usize {
    let end = tokens[at..].iter().position(|token| is_sign(token, ';'));
    end.map_or(tokens.len(), |end| at + end)
}

/// The index after the item, statement, field or variant at this index, including further attributes.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let mut at = at;
    let mut is_function = false;
    let mut is_statement = false;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(word) => match word.to_string().as_str() {
                "fn" | "mod" | "struct" | "enum" | "union" | "trait" | "impl" => is_function = true,
                "use" | "const" | "static" | "type" | "let" => is_statement = true,
                _ => {}
            },
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace && (is_function || !is_statement) =>
            {
                return at;
            }
            TokenTree::Punct(sign) if sign.as_char() == ';' => return at,
            TokenTree::Punct(sign) if sign.as_char() == ',' && !is_function && !is_statement => {
                return at;
            }
            _ => {}
        }
    }
    at
}

/// Whether an attribute is a `cfg(...)` that holds only for tests and fuzz targets.
fn is_test_only(attribute: TokenStream) -> bool {
    let tokens: Tokens = attribute.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word), TokenTree::Group(condition)] if word == "cfg" => {
            let condition: Tokens = condition.stream().into_iter().collect();
            holds(&condition) == Some(false)
        }
        _ => false,
    }
}

/// Whether a condition holds outside of tests; `None` if it depends on the target or on features.
fn holds(condition: &[TokenTree]) -> Option<bool> {
    match condition {
        [TokenTree::Ident(word)] if word == "test" => Some(false),
        [
            TokenTree::Ident(word),
            TokenTree::Punct(_),
            TokenTree::Literal(value),
        ] if word == "feature" && value.to_string() == "\"fuzz\"" => Some(false),
        [TokenTree::Ident(word), TokenTree::Group(parts)] => {
            let parts: Tokens = parts.stream().into_iter().collect();
            let mut parts = parts
                .split(|token| is_sign(token, ','))
                .filter(|part| !part.is_empty())
                .map(holds);
            match word.to_string().as_str() {
                "not" => parts.next().flatten().map(|holds| !holds),
                "all" => parts.find(|part| *part == Some(false)).unwrap_or(None),
                "any" => parts.all(|part| part == Some(false)).then_some(false),
                _ => None,
            }
        }
        _ => None,
    }
}
