package network

import (
	"fmt"
	"testing"
)

// BenchmarkAttach is what registering a machine takes longer because of its
// network: both families, responders, rules, one port.
func BenchmarkAttach(b *testing.B) {
	for _, others := range []int{0, 100} {
		b.Run(fmt.Sprint("others=", others), func(b *testing.B) {
			l := newLab(b)
			for i := range others {
				defer l.end(l.start(fmt.Sprint("other", i)))
			}
			l.write(l.paths.Settings[0]+"/web.nspawn", "[X-Machd]\nPublish=8080:80\n")
			for b.Loop() {
				b.StopTimer()
				g := l.boot("web", "ve-web", "")
				b.StartTimer()
				l.Attach(b.Context(), g.Machine)
				b.StopTimer()
				l.end(g)
				g.process.Kill()
				b.StartTimer()
			}
		})
	}
}
