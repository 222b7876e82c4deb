package filetree

import (
	"iter"
	"slices"
	"sync"
)

// queueLength is how many batches wait for a worker.
const queueLength = 16

// A batch is some files of one directory.
type batch struct {
	in      *directory
	entries []entry
}

// A queue gives each worker files of a directory where no other worker is, as
// long as there are such: the kernel makes one file at a time in a directory, and
// whoever waits for that wastes a processor.
type queue struct {
	mu         sync.Mutex
	some, room sync.Cond
	waiting    []batch
	at         [workers]*directory // where each worker was last
	closed     bool
}

func newQueue() *queue {
	q := &queue{}
	q.some.L, q.room.L = &q.mu, &q.mu
	return q
}

// put waits until there is room.
func (q *queue) put(b batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == queueLength {
		q.room.Wait()
	}
	q.waiting = append(q.waiting, b)
	q.some.Signal()
}

// close says that there will be no more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}

// batches are those for a worker, one after the other, until the queue is closed
// and empty.
func (q *queue) batches(worker int) iter.Seq[batch] {
	return func(yield func(batch) bool) {
		for {
			b, ok := q.take(worker)
			if !ok || !yield(b) {
				return
			}
		}
	}
}

func (q *queue) take(worker int) (b batch, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.some.Wait()
	}
	if len(q.waiting) == 0 {
		return batch{}, false
	}
	i := q.choose(worker)
	b = q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.at[worker] = b.in
	q.room.Signal()
	return b, true
}

// choose returns which of those that wait is best for worker: of where it is,
// or else of where nobody is.
func (q *queue) choose(worker int) int {
	mine := func(b batch) bool { return b.in == q.at[worker] }
	free := func(b batch) bool { return !slices.Contains(q.at[:], b.in) }
	for _, good := range []func(batch) bool{mine, free} {
		if i := slices.IndexFunc(q.waiting, good); i >= 0 {
			return i
		}
	}
	return 0
}
