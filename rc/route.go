package rc

import (
	"strings"

	"github.com/bsdnet/bsdnet/route/command"
)

// parseRoute reads the arguments that route(8) takes after add.
func parseRoute(pos Position, words []string) (*Route, error) {
	request, err := command.ParseAdd(words)
	if err != nil {
		return nil, err
	}
	return &Route{Request: request, Text: strings.Join(words, " "), Position: pos}, nil
}
