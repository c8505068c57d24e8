package api

import "github.com/bsdnet/bsdnet/errno"

// Errno is the error of a routing request, as rtm_errno carries it.
type Errno = errno.Errno

// Error says what a request failed with.
type Error = errno.Error

// The errors that requests can return.
const (
	EPERM         = errno.EPERM
	ENOENT        = errno.ENOENT
	ESRCH         = errno.ESRCH
	ENXIO         = errno.ENXIO
	EBUSY         = errno.EBUSY
	EEXIST        = errno.EEXIST
	EINVAL        = errno.EINVAL
	EOPNOTSUPP    = errno.EOPNOTSUPP
	EAFNOSUPPORT  = errno.EAFNOSUPPORT
	EADDRINUSE    = errno.EADDRINUSE
	EADDRNOTAVAIL = errno.EADDRNOTAVAIL
	ENETDOWN      = errno.ENETDOWN
	ENETUNREACH   = errno.ENETUNREACH
	ENOBUFS       = errno.ENOBUFS
	EHOSTDOWN     = errno.EHOSTDOWN
	EHOSTUNREACH  = errno.EHOSTUNREACH
	EIO           = errno.EIO
)

// Errorf returns an error of a request with a text of its own.
func Errorf(e Errno, format string, args ...any) *Error { return errno.Errorf(e, format, args...) }

// ErrnoOf returns the errno of any error.
func ErrnoOf(err error) Errno { return errno.Of(err) }
