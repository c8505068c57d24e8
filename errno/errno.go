// Package errno holds the errors of the BSDs by name, with their numbers and
// texts there, which are not those of Linux.
package errno

import (
	"errors"
	"fmt"
	"syscall"
)

// Errno is the error of a request to the stack: rtm_errno of a routing
// message, errno of an ioctl(2). It travels by name, because the numbers of
// Linux and of the BSDs differ.
type Errno string

// The errors that requests return.
const (
	EPERM           Errno = "EPERM"
	ENOENT          Errno = "ENOENT"
	ESRCH           Errno = "ESRCH"
	ENXIO           Errno = "ENXIO"
	EBUSY           Errno = "EBUSY"
	EEXIST          Errno = "EEXIST"
	EINVAL          Errno = "EINVAL"
	EOPNOTSUPP      Errno = "EOPNOTSUPP"
	EAFNOSUPPORT    Errno = "EAFNOSUPPORT"
	EADDRINUSE      Errno = "EADDRINUSE"
	EADDRNOTAVAIL   Errno = "EADDRNOTAVAIL"
	ENETDOWN        Errno = "ENETDOWN"
	ENETUNREACH     Errno = "ENETUNREACH"
	ENOBUFS         Errno = "ENOBUFS"
	EHOSTDOWN       Errno = "EHOSTDOWN"
	EHOSTUNREACH    Errno = "EHOSTUNREACH"
	EIO             Errno = "EIO"
	ERANGE          Errno = "ERANGE"
	ENOMEM          Errno = "ENOMEM"
	EACCES          Errno = "EACCES"
	EDESTADDRREQ    Errno = "EDESTADDRREQ"
	ENOMSG          Errno = "ENOMSG"
	EPROTONOSUPPORT Errno = "EPROTONOSUPPORT"
	ENOSPC          Errno = "ENOSPC"
	ENAMETOOLONG    Errno = "ENAMETOOLONG"
	ENOTDIR         Errno = "ENOTDIR"
	EISDIR          Errno = "EISDIR"
	ENOPROTOOPT     Errno = "ENOPROTOOPT"
	EDQUOT          Errno = "EDQUOT"
)

var errnos = map[Errno]struct {
	text   string // of strerror(3) on FreeBSD
	number int    // on FreeBSD
	linux  syscall.Errno
}{
	EPERM:           {"Operation not permitted", 1, syscall.EPERM},
	ENOENT:          {"No such file or directory", 2, syscall.ENOENT},
	ESRCH:           {"No such process", 3, syscall.ESRCH},
	EIO:             {"Input/output error", 5, syscall.EIO},
	ENXIO:           {"Device not configured", 6, syscall.ENXIO},
	EBUSY:           {"Device busy", 16, syscall.EBUSY},
	EEXIST:          {"File exists", 17, syscall.EEXIST},
	EINVAL:          {"Invalid argument", 22, syscall.EINVAL},
	EOPNOTSUPP:      {"Operation not supported", 45, syscall.EOPNOTSUPP},
	EAFNOSUPPORT:    {"Address family not supported by protocol family", 47, syscall.EAFNOSUPPORT},
	EADDRINUSE:      {"Address already in use", 48, syscall.EADDRINUSE},
	EADDRNOTAVAIL:   {"Can't assign requested address", 49, syscall.EADDRNOTAVAIL},
	ENETDOWN:        {"Network is down", 50, syscall.ENETDOWN},
	ENETUNREACH:     {"Network is unreachable", 51, syscall.ENETUNREACH},
	ENOBUFS:         {"No buffer space available", 55, syscall.ENOBUFS},
	EHOSTDOWN:       {"Host is down", 64, syscall.EHOSTDOWN},
	ENAMETOOLONG:    {"File name too long", 63, syscall.ENAMETOOLONG},
	ENOSPC:          {"No space left on device", 28, syscall.ENOSPC},
	EPROTONOSUPPORT: {"Protocol not supported", 43, syscall.EPROTONOSUPPORT},
	ENOMSG:          {"No message of desired type", 83, syscall.ENOMSG},
	EDESTADDRREQ:    {"Destination address required", 39, syscall.EDESTADDRREQ},
	EACCES:          {"Permission denied", 13, syscall.EACCES},
	ENOMEM:          {"Cannot allocate memory", 12, syscall.ENOMEM},
	ENOTDIR:         {"Not a directory", 20, syscall.ENOTDIR},
	EISDIR:          {"Is a directory", 21, syscall.EISDIR},
	ENOPROTOOPT:     {"Protocol not available", 42, syscall.ENOPROTOOPT},
	EDQUOT:          {"Disc quota exceeded", 69, syscall.EDQUOT},
	ERANGE:          {"Result too large", 34, syscall.ERANGE},
	EHOSTUNREACH:    {"No route to host", 65, syscall.EHOSTUNREACH},
}

// Error returns the text of strerror(3) on a BSD.
func (e Errno) Error() string {
	if entry, ok := errnos[e]; ok {
		return entry.text
	}
	return "Unknown error: " + string(e)
}

// Number returns FreeBSD's number of the error.
func (e Errno) Number() int { return errnos[e].number }

// Error says what a request failed with, where the errno is not all there is to say.
type Error struct {
	Errno Errno  `json:"errno"`
	Text  string `json:"text,omitempty"` // more than the errno says, may be empty
}

// Errorf returns an error of a request with a text of its own.
func Errorf(e Errno, format string, args ...any) *Error {
	return &Error{Errno: e, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Text != "" {
		return e.Text
	}
	return e.Errno.Error()
}

// Is makes errors.Is(err, EEXIST) work on an Error.
func (e *Error) Is(target error) bool {
	number, ok := target.(Errno)
	return ok && number == e.Errno
}

// Of returns the errno of any error: its own, that of a system call, or
// EIO.
func Of(err error) Errno {
	var own Errno
	if errors.As(err, &own) {
		return own
	}
	var request *Error
	if errors.As(err, &request) {
		return request.Errno
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		if number == syscall.ENODEV {
			return ENXIO
		}
		for name, entry := range errnos {
			if entry.linux == number {
				return name
			}
		}
	}
	return EIO
}
