package machine

import (
	"context"
	"sync"

	"github.com/machd/machd/daemon/internal/task"
)

// work is what has to be done outside of any call: watching leaders, waiting
// for jobs, looking whether a machine is over. Anybody may hand in work at any
// time; it is done, each piece that may take long in a goroutine of its own,
// while run runs, so one that is stuck holds up no other, and none outlives run.
type work struct {
	wake   chan struct{} // capacity 1
	checks task.Looks    // at machines

	mu      sync.Mutex
	waiting []func(context.Context)
	brief   []func()
}

func newWork() *work {
	return &work{wake: make(chan struct{}, 1)}
}

// run does the work until ctx ends, and waits for all that was begun.
func (w *work) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			tasks, brief := w.take()
			for _, task := range brief {
				task()
			}
			for _, task := range tasks {
				wg.Go(func() { task(ctx) })
			}
		}
	}
}

// do hands in task. It does not block.
func (w *work) do(task func(context.Context)) {
	w.mu.Lock()
	w.waiting = append(w.waiting, task)
	w.mu.Unlock()
	w.ring()
}

// doBriefly hands in a task that does not block, either: such tasks are done in
// the order in which they come, by run itself. It does not block.
func (w *work) doBriefly(task func()) {
	w.mu.Lock()
	w.brief = append(w.brief, task)
	w.mu.Unlock()
	w.ring()
}

func (w *work) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *work) take() (tasks []func(context.Context), brief []func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tasks, brief = w.waiting, w.brief
	w.waiting, w.brief = nil, nil
	return tasks, brief
}
