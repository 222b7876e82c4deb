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

// BenchmarkPort publishes one port more and takes it back.
func BenchmarkPort(b *testing.B) {
	for _, others := range []int{10, 10000} {
		b.Run(fmt.Sprint("others=", others), func(b *testing.B) {
			l := newLab(b)
			g := l.start("web")
			defer l.end(g)
			for first := 20000; first < 20000+others; first += 1000 {
				l.must(l.AddPorts(b.Context(), "web", ports(b, fmt.Sprintf("%d-%d", first, min(first+1000, 20000+others)-1)), false))
			}
			one := ports(b, "8080:80")
			for b.Loop() {
				l.must(l.AddPorts(b.Context(), "web", one, false))
				l.removePorts("web", one, false)
			}
		})
	}
}
