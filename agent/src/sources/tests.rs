mod declarations;
mod file_source;
mod files;
mod held;
mod watcher;
