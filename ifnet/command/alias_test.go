package command

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// addresses is a backend that writes down what becomes of addresses.
type addresses struct {
	api.Backend
	done []string
}

func (a *addresses) Interfaces(_ context.Context, n api.Name) ([]api.Interface, error) {
	return []api.Interface{{Name: n.Name, Addresses: []api.Address{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}}}}, nil
}

func (a *addresses) AddAddress(_ context.Context, r api.AddressRequest) error {
	a.done = append(a.done, "add "+r.Prefix.String())
	return nil
}

func (a *addresses) DeleteAddress(_ context.Context, r api.AddressRequest) error {
	if !r.Prefix.IsValid() {
		a.done = append(a.done, fmt.Sprint("delete the first of family ", r.Family))
		return nil
	}
	a.done = append(a.done, "delete "+r.Prefix.Addr().String())
	return nil
}

func TestAlias(t *testing.T) {
	for _, test := range []struct {
		words []string
		want  []string
	}{
		{[]string{"-alias", "192.0.2.6"}, []string{"delete 192.0.2.6"}},
		{[]string{"delete", "192.0.2.6"}, []string{"delete 192.0.2.6"}},
		{[]string{"remove", "inet", "192.0.2.6"}, []string{"delete 192.0.2.6"}},
		{[]string{"192.0.2.6", "-alias"}, []string{"delete 192.0.2.6"}},
		{[]string{"inet", "-alias", "192.0.2.6"}, []string{"delete 192.0.2.6"}},
		{[]string{"inet", "192.0.2.6", "delete"}, []string{"delete 192.0.2.6"}},
		{[]string{"-alias", "inet6", "2001:db8::6"}, []string{"delete 2001:db8::6"}},
		{[]string{"inet6", "2001:db8::6", "-alias"}, []string{"delete 2001:db8::6"}},
		{[]string{"-alias"}, []string{fmt.Sprint("delete the first of family ", api.Inet)}},
		{[]string{"inet6", "delete"}, []string{fmt.Sprint("delete the first of family ", api.Inet6)}},
		{[]string{"alias", "192.0.2.6/32"}, []string{"add 192.0.2.6/32"}},
		{[]string{"alias", "inet", "192.0.2.6/32"}, []string{"add 192.0.2.6/32"}},
		{[]string{"192.0.2.6/24"}, []string{"delete 192.0.2.1", "add 192.0.2.6/24"}},
		{[]string{"inet", "192.0.2.6/32", "alias", "inet6", "2001:db8::6/64"}, []string{"add 192.0.2.6/32", "add 2001:db8::6/64"}},
	} {
		b := &addresses{}
		e := &Env{Backend: b}
		if err := e.change(t.Context(), "em0", test.words); err != nil {
			t.Errorf("ifconfig em0 %v: %v", test.words, err)
		} else if !slices.Equal(b.done, test.want) {
			t.Errorf("ifconfig em0 %v: did %q, want %q", test.words, b.done, test.want)
		}
	}
}
