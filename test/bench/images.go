package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// images is how many images there are when images are listed.
const images = 1000

// makeImages makes n empty images and returns what removes them.
func makeImages(n int) (remove func(), err error) {
	var made []string
	remove = func() {
		for _, path := range made {
			os.Remove(path)
		}
	}
	for i := range n {
		path := filepath.Join("/var/lib/machines", fmt.Sprintf("bench-image-%04d", i+1))
		if err := os.Mkdir(path, 0o755); err != nil {
			remove()
			return nil, err
		}
		made = append(made, path)
	}
	return remove, nil
}
