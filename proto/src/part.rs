//! The name of the part of a file whose copy has not ended.

use crate::limits::NAME_MAX;

/// The name that the part of a file has, beside that file. `None`: no name can be that long.
pub fn part_name(name: &[u8]) -> Option<Vec<u8>> {
    let part = [&b"."[..], name, b".baton-part"].concat();
    Some(part).filter(|part| part.len() <= NAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_hidden_name_unless_that_is_too_long() {
        assert_eq!(part_name(b"a.tar").as_deref(), Some(&b".a.tar.baton-part"[..]));
        let added = part_name(b"").unwrap().len();
        assert_eq!(part_name(&vec![b'a'; NAME_MAX - added]).unwrap().len(), NAME_MAX);
        assert_eq!(part_name(&vec![b'a'; NAME_MAX - added + 1]), None);
    }
}
