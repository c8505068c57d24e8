// Package torture proves by force what the rest of the project claims: the
// daemon killed at any moment, rulesets replaced under traffic, floods, frames
// that no sender means. Its tests print what they did and what came of it.
package torture
