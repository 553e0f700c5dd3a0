//! Messages for clients whose line on the allow-list limits them: of the guard before the services, and of the services.

/// The message of a refused call of a client with a forced command.
pub(crate) const RESTRICTED: &str = "this client's key may only run the command that the exec-server's allow-list has \
    for it (option `command`): ask the exec-server's owner for a key without that option";

/// The message of a refused call of a client whose commands run as another user.
pub(crate) const OTHER_USER: &str = "this client's commands run as a user that the exec-server's owner has set, and \
    this service would have the rights of the exec-server's own user: use a command instead, such as cat, tar, or rsync \
    through `baton ssh`";
