//! What the harness measures with, held against what it claims.

mod inject;
