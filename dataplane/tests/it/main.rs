mod plan;
mod walk;
