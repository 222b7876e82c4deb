// Package task owns the lifetimes of goroutines that outlive one call: they
// are started together, the first failure ends all, and nobody is left behind.
package task

import (
	"context"
	"sync"
)

// A Task runs until ctx is cancelled, and returns nil then, or until it cannot
// go on, and returns why.
type Task func(ctx context.Context) error

// Run runs the tasks and waits until all have returned. The first error
// cancels the others' context and is returned. A task that returns nil early
// ends nothing.
func Run(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, task := range tasks {
		wg.Go(func() {
			if err := task(ctx); err != nil {
				once.Do(func() {
					first = err
					cancel(err)
				})
			}
		})
	}
	wg.Wait()
	return first
}
