// Package backup takes, lists, verifies and restores physical base backups of PostgreSQL in an environment's bucket.
//
// It owns everything below base/ and keys/ in the bucket: the parts of the encrypted tar, PostgreSQL's backup manifest, the signed
// commit that makes a backup exist, and the keys that open it. It does not own the servers that a backup comes from and goes to:
// a restore works on a Place, and who may restore, and when, is decided elsewhere.
package backup
