//! The module graph of a crate, read from its sources.
//!
//! A node of the graph is a file. An edge says that code of one file names something of another: in a `use`, or in a path
//! inside an expression, a type or a macro. A re-export is followed to the file that defines the name, and is no edge
//! itself when it points down into its own module: that is a table of contents. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Re-exports of re-exports that are followed at most.
const HOPS_MAX: usize = 16;

/// A module path without `crate`: `["api", "grpc"]`; empty is the root.
type ModulePath = Vec<String>;

/// Files of one crate that name each other.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
struct Module {
    /// File that it is written in, as a module path.
    file: ModulePath,
    children: BTreeSet<String>,
    /// Names that `use` brings in, and the path that each stands for.
    names: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Names that are defined here.
    items: BTreeSet<String>,
    /// Paths that the code names; true = a re-export.
    paths: Vec<(Vec<String>, bool)>,
}

type Modules = BTreeMap<ModulePath, Module>;

impl Graph {
    /// Reads a crate from its root file (`src/lib.rs` or `src/main.rs`).
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Modules::new();
        let folder = root.parent().expect("a file lies in a folder");
        read_file(root, folder, ModulePath::new(), &mut modules);
        let mut graph = Self::default();
        for (at, module) in &modules {
            for (path, is_reexport) in &module.paths {
                let Some(target) = resolve(&modules, at, path, HOPS_MAX) else {
                    continue;
                };
                let (from, to) = (&module.file, &modules[&target].file);
                let contents = *is_reexport && to.starts_with(from);
                if from != to && !contents {
                    graph.add(name(from), name(to));
                }
            }
        }
        graph
    }

    /// Adds an edge by hand.
    pub(crate) fn add(&mut self, from: String, to: String) {
        self.edges.entry(to.clone()).or_default();
        self.edges.entry(from).or_default().insert(to);
    }

    /// Every edge.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges
            .iter()
            .flat_map(|(from, to)| to.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// Files that name each other in a circle: each group once. (Strongly connected components, Tarjan 1972.)
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let mut search = Search {
            graph: self,
            order: BTreeMap::new(),
            low: BTreeMap::new(),
            stack: Vec::new(),
            circles: Vec::new(),
        };
        for file in self.edges.keys() {
            if !search.order.contains_key(file.as_str()) {
                search.visit(file);
            }
        }
        search.circles
    }
}

struct Search<'g> {
    graph: &'g Graph,
    order: BTreeMap<&'g str, usize>,
    low: BTreeMap<&'g str, usize>,
    stack: Vec<&'g str>,
    circles: Vec<Vec<String>>,
}

impl<'g> Search<'g> {
    fn visit(&mut self, file: &'g str) {
        let number = self.order.len();
        self.order.insert(file, number);
        self.low.insert(file, number);
        self.stack.push(file);
        for next in &self.graph.edges[file] {
            if !self.order.contains_key(next.as_str()) {
                self.visit(next);
                let low = self.low[next.as_str()].min(self.low[file]);
                self.low.insert(file, low);
            } else if self.stack.contains(&next.as_str()) {
                let low = self.order[next.as_str()].min(self.low[file]);
                self.low.insert(file, low);
            }
        }
        if self.low[file] == self.order[file] {
            let begin = self.stack.iter().position(|other| *other == file);
            let circle = self.stack.split_off(begin.expect("it was pushed"));
            if circle.len() > 1 {
                let mut circle: Vec<String> = circle.into_iter().map(str::to_owned).collect();
                circle.sort();
                self.circles.push(circle);
            }
        }
    }
}

fn name(path: &[String]) -> String {
    match path {
        [] => "crate".to_owned(),
        path => path.join("::"),
    }
}

/// Reads a file and its child modules, whose files lie in `folder`.
fn read_file(file: &Path, folder: &Path, at: ModulePath, modules: &mut Modules) {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed =
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_items(&parsed.items, folder, at.clone(), &at, modules);
}

fn read_items(
    items: &[syn::Item],
    folder: &Path,
    at: ModulePath,
    file: &ModulePath,
    modules: &mut Modules,
) {
    let mut module = Module {
        file: file.clone(),
        ..Module::default()
    };
    for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
        module.items.extend(defined(item));
        match item {
            syn::Item::Mod(inner) => {
                let child = inner.ident.to_string();
                module.children.insert(child.clone());
                let mut path = at.clone();
                path.push(child.clone());
                match &inner.content {
                    Some((_, items)) => {
                        read_items(items, &folder.join(&child), path, file, modules);
                    }
                    // A file that two crates share is a leaf here, and is read where it lies.
                    None if has_path(&inner.attrs) => {}
                    None => read_file(&find(folder, &child), &folder.join(&child), path, modules),
                }
            }
            syn::Item::Use(used) => {
                let is_reexport = !matches!(used.vis, syn::Visibility::Inherited);
                module.read_use(&used.tree, Vec::new(), is_reexport);
            }
            item => module.visit_item(item),
        }
    }
    modules.insert(at, module);
}

fn find(folder: &Path, module: &str) -> PathBuf {
    let beside = folder.join(format!("{module}.rs"));
    match beside.exists() {
        true => beside,
        false => folder.join(module).join("mod.rs"),
    }
}

impl Module {
    fn read_use(&mut self, tree: &syn::UseTree, mut path: Vec<String>, is_reexport: bool) {
        match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.read_use(&part.tree, path, is_reexport);
            }
            syn::UseTree::Name(part) => self.bind(&part.ident, &part.ident, path, is_reexport),
            syn::UseTree::Rename(part) => self.bind(&part.ident, &part.rename, path, is_reexport),
            syn::UseTree::Glob(_) => {
                self.globs.push(path.clone());
                self.paths.push((path, is_reexport));
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(tree, path.clone(), is_reexport);
                }
            }
        }
    }

    fn bind(
        &mut self,
        ident: &syn::Ident,
        bound: &syn::Ident,
        mut path: Vec<String>,
        is_reexport: bool,
    ) {
        let mut bound = bound.to_string();
        if ident == "self" {
            bound = match bound.as_str() {
                "self" => path.last().cloned().unwrap_or_default(),
                other => other.to_owned(),
            };
        } else {
            path.push(ident.to_string());
        }
        self.names.insert(bound, path.clone());
        self.paths.push((path, is_reexport));
    }

    fn read_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut place = 0;
        while place < tokens.len() {
            match &tokens[place] {
                TokenTree::Group(group) => self.read_tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while let [
                        TokenTree::Punct(one),
                        TokenTree::Punct(two),
                        TokenTree::Ident(next),
                        ..,
                    ] = &tokens[place + 1..]
                        && one.as_char() == ':'
                        && two.as_char() == ':'
                    {
                        path.push(next.to_string());
                        place += 3;
                    }
                    if path.len() > 1 {
                        self.paths.push((path, false));
                    }
                }
                _ => {}
            }
            place += 1;
        }
    }
}

impl Visit<'_> for Module {
    fn visit_path(&mut self, path: &syn::Path) {
        if path.segments.len() > 1 {
            let segments = path.segments.iter();
            let path = segments.map(|segment| segment.ident.to_string()).collect();
            self.paths.push((path, false));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, used: &syn::Macro) {
        self.read_tokens(used.tokens.clone());
        visit::visit_macro(self, used);
    }

    fn visit_item_use(&mut self, used: &syn::ItemUse) {
        // Inside a function: it binds nothing outside of it.
        let mut inner = Module::default();
        inner.read_use(&used.tree, Vec::new(), false);
        self.paths.append(&mut inner.paths);
    }
}

/// The module that defines the last name of a path; `None` = it is of another crate, or of the language.
fn resolve(modules: &Modules, at: &ModulePath, path: &[String], hops: usize) -> Option<ModulePath> {
    let module = modules.get(at)?;
    let first = path.first()?.as_str();
    let (mut here, mut rest) = match first {
        "crate" => (ModulePath::new(), &path[1..]),
        "self" => (at.clone(), &path[1..]),
        "super" => {
            let mut here = at.clone();
            here.pop()?;
            (here, &path[1..])
        }
        child if module.children.contains(child) => (at.clone(), path),
        item if module.items.contains(item) => return Some(at.clone()),
        name => {
            let stands_for = module.names.get(name)?;
            // `use sha2::Digest` stands for itself: a path that begins outside.
            if hops == 0 || stands_for.first().map(String::as_str) == Some(name) {
                return None;
            }
            let mut longer = stands_for.clone();
            longer.extend_from_slice(&path[1..]);
            return resolve(modules, at, &longer, hops - 1);
        }
    };
    while let [segment, others @ ..] = rest {
        let module = modules.get(&here)?;
        if segment == "super" {
            here.pop()?;
        } else if module.children.contains(segment) {
            here.push(segment.clone());
        } else if module.items.contains(segment) {
            return Some(here);
        } else if let Some(stands_for) = module.names.get(segment) {
            let mut longer = stands_for.clone();
            longer.extend_from_slice(others);
            return resolve(modules, &here, &longer, hops.checked_sub(1)?);
        } else {
            let through = module.globs.iter().find_map(|glob| {
                let mut longer = glob.clone();
                longer.extend_from_slice(rest);
                resolve(modules, &here, &longer, hops.checked_sub(1)?)
            });
            // A name that only a macro defines stands where it was looked for.
            return through.or(Some(here));
        }
        rest = others;
    }
    Some(here)
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

fn has_path(attributes: &[syn::Attribute]) -> bool {
    let mut attributes = attributes.iter();
    attributes.any(|attribute| attribute.path().is_ident("path"))
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn defined(item: &syn::Item) -> Option<String> {
    let ident = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(ident.to_string())
}
