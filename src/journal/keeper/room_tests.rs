//! Who is sacrificed first, and who never.
