// Package frontend holds what browsers are given: the JavaScript client and the
// demo page of the development mode. Everything is embedded, so the program
// serves them from anywhere.
package frontend

import (
	"embed"
	"io/fs"
)

//go:embed client/aldaba.min.js demo/*.html demo/*.css demo/*.js demo/*.svg
var files embed.FS

// Client returns a file system with one file, aldaba.min.js: the ES module that
// the hub serves at /aldaba.js, built from the sources beside it.
func Client() fs.FS { return sub("client") }

// Demo returns the files of the demo page: index.html, served at /, and the assets
// it asks for under /demo/. They need no inline script or style, so a content
// security policy of default-src 'self' suffices.
func Demo() fs.FS { return sub("demo") }

// sub cannot fail: the directories are part of the embedding pattern above.
func sub(dir string) fs.FS {
	tree, err := fs.Sub(files, dir)
	if err != nil {
		panic(err)
	}
	return tree
}
