package main

import (
	"slices"
	"strings"
)

// maxNear is how many words a mistake may have been meant for.
const maxNear = 3

// nearest returns the words that word may have been meant for, the likeliest
// first: those that it begins, and those it becomes by changing few letters.
func nearest(word string, known []string) []string {
	type guess struct {
		word  string
		edits int
	}
	word = strings.ToLower(word)
	// A third of the letters may be wrong, and one of a short word.
	most := min(max(1, (len(word)+1)/3), 3)
	var guesses []guess
	for _, k := range known {
		lower := strings.ToLower(k)
		switch n := edits(word, lower); {
		case k == "" || word == "":
		case n <= most && n < len(lower):
			guesses = append(guesses, guess{k, n})
		case len(word) > 1 && strings.HasPrefix(lower, word):
			guesses = append(guesses, guess{k, most + 1})
		}
	}
	slices.SortStableFunc(guesses, func(a, b guess) int { return a.edits - b.edits })
	var near []string
	for _, g := range guesses {
		likely := g.edits <= guesses[0].edits+1 || g.edits > most
		if likely && !slices.Contains(near, g.word) && len(near) < maxNear {
			near = append(near, g.word)
		}
	}
	return near
}

// edits is how many letters must be inserted, deleted, replaced or swapped with
// their neighbours to make b of a.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	// Rows of the table of distances between beginnings of x and of y.
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			replace := last[j-1]
			if x[i-1] != y[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

// didYouMean asks whether word was meant for one of those that are known, or is
// empty if it looks like none. It goes on with a sentence.
func didYouMean(word string, known []string) string { return asIfMeant(nearest(word, known)) }

func asIfMeant(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return ", did you mean " + strings.Join(near, " or ") + "?"
}
