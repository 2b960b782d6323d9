//! Strangers' programs and strangers' certificates, against the library: OpenSSL makes certificates
//! as people have them and speaks TLS with both ends.

#![cfg(unix)]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

mod issued;
mod openssl;
mod strangers;
