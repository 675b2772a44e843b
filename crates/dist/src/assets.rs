//! Texts of the packages.

/// systemd template unit.
pub const UNIT: &str = include_str!("../assets/ipe@.service");
/// sysusers.d(5).
pub const SYSUSERS: &str = include_str!("../assets/sysusers.conf");
/// Example settings.
pub const OBSERVER: &str = include_str!("../assets/observer.toml.example");
/// After an installation or an upgrade.
pub const POSTINST: &str = include_str!("../assets/postinst.sh");
/// Before a removal.
pub const PRERM: &str = include_str!("../assets/prerm.sh");
/// After a removal.
pub const POSTRM: &str = include_str!("../assets/postrm.sh");
