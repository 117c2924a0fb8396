//! Findings -> the places in files that they are about.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use palisade_compiler::lint::Finding;
use palisade_compiler::parse::{self, Settings};

use crate::cli::input::{Read, ReadOptions};

/// Sets the places of the findings that have none and whose object is declared by a file. What came by a pipe cannot be read
/// again, and has none.
pub(super) fn find(read: &Read, options: &ReadOptions, findings: &mut [Finding]) {
    let mut files: HashMap<String, Option<Arc<Path>>> = HashMap::new();
    for object in findings.iter().filter(|f| f.place.is_none()).filter_map(|f| f.object.as_ref()) {
        files.insert(object.to_string(), None);
    }
    for object in &read.objects {
        // An object is called the same by the sources and by the linter: `NetworkPolicy shop/api`.
        if let Some(file) = files.get_mut(&object.object.to_string()) {
            *file = Some(Arc::clone(&object.file));
        }
    }
    let mut by_file: BTreeMap<Arc<Path>, Vec<usize>> = BTreeMap::new();
    for (at, finding) in findings.iter().enumerate().filter(|(_, f)| f.place.is_none()) {
        let file = finding.object.as_ref().and_then(|object| files.get(&object.to_string()));
        if let Some(Some(file)) = file {
            by_file.entry(Arc::clone(file)).or_default().push(at);
        }
    }
    for (file, numbers) in by_file {
        find_in(&file, &numbers, options, findings);
    }
}

fn find_in(file: &Path, numbers: &[usize], options: &ReadOptions, findings: &mut [Finding]) {
    let is_small = |file: &Path| {
        file.metadata().is_ok_and(|data| data.is_file() && data.len() <= options.max_file_size)
    };
    // A file that is gone by now has no lines to point to.
    let Some(bytes) = is_small(file).then(|| std::fs::read(file).ok()).flatten() else { return };
    let settings = Settings { namespace: options.namespace.clone(), ..Settings::default() };
    let sought: Vec<_> = numbers
        .iter()
        .filter_map(|at| {
            let finding = findings.get(*at)?;
            Some((finding.object.as_ref()?, finding.field.as_deref()))
        })
        .collect();
    let found = parse::places(&file.to_string_lossy(), &bytes, &settings, &sought);
    for (at, place) in numbers.iter().zip(found) {
        findings.get_mut(*at).into_iter().for_each(|finding| finding.place.clone_from(&place));
    }
}
