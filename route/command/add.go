package command

import (
	"errors"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

// ParseAdd reads the arguments that route(8) takes after add, as the static
// routes of rc.conf(5) have them. Names are not resolved.
func ParseAdd(args []string) (api.RouteRequest, error) {
	cmd, err := parseRoute(&Env{}, append([]string{"add"}, args...), time.Now())
	if err != nil {
		return api.RouteRequest{}, err
	}
	if !cmd.request.Gateway.IsValid() && cmd.request.Interface == "" {
		return api.RouteRequest{}, errors.New("gateway parameter required")
	}
	return cmd.request, nil
}
