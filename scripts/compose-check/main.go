// Loads a compose file as `docker compose config` does, with the library that command is made of: schema,
// variables from the environment, references between services. Prints the loaded file.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	path, err := filepath.Abs(os.Args[1])
	if err != nil {
		fail(err)
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  filepath.Dir(path),
		ConfigFiles: []types.ConfigFile{{Filename: path}},
		Environment: types.NewMapping(os.Environ()),
	})
	if err != nil {
		fail(err)
	}
	loaded, err := project.MarshalYAML()
	if err != nil {
		fail(err)
	}
	fmt.Print(string(loaded))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
