/// The way out: time limits, trust roots, the address guard and the environment, built once by `cli`.
pub struct Net {}
