package main

import (
	"context"
	"errors"

	"github.com/bsdnet/bsdnet/control"
)

func routeMain(ctx context.Context, args []string) int     { return report("route", errors.New("x")) }
func arpMain(ctx context.Context, args []string) int       { return report("arp", errors.New("x")) }
func ndpMain(ctx context.Context, args []string) int       { return report("ndp", errors.New("x")) }
func netstatRoutes(ctx context.Context, args []string) int { return report("netstat", errors.New("x")) }
func netstatQueues(ctx context.Context, client *control.Client, o netstatOptions) error {
	return errors.New("x")
}
