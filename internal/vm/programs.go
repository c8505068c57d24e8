package vm

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// AddPrograms puts programs of this machine into a guest's files, under
// /usr/bin, with the libraries that they are linked to.
func AddPrograms(ctx context.Context, files map[string]string, names ...string) error {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("add program to guest: %w", err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return fmt.Errorf("add program to guest: %w", err)
		}
		files["/usr/bin/"+name] = path
		out, err := output(ctx, ".", "ldd", path)
		if err != nil {
			continue // linked statically
		}
		for line := range strings.Lines(out) {
			for _, word := range strings.Fields(line) {
				if strings.HasPrefix(word, "/") {
					files[word] = word
				}
			}
		}
	}
	return nil
}
