package lan

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// A Server tells everybody who asks its name and what it takes him for, over TCP
// and UDP.
type Server struct {
	name   string
	stream net.Listener
	packet net.PacketConn
}

// An Answer is what a Server tells.
type Answer struct {
	Name   string
	Client netip.Addr // as the Server sees it
}

// Serve starts a Server at a port, of every address and both families.
func (p Place) Serve(name string, port int) (*Server, error) {
	return p.ServeAt(name, fmt.Sprintf(":%d", port))
}

// ServeAt starts a Server at ADDRESS:PORT.
func (p Place) ServeAt(name, address string) (*Server, error) {
	stream, err := p.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	packet, err := p.ListenPacket("udp", address)
	if err != nil {
		stream.Close()
		return nil, err
	}
	s := &Server{name, stream, packet}
	go s.serveStreams()
	go s.servePackets()
	return s, nil
}

// Close ends the Server, but no connection.
func (s *Server) Close() {
	s.stream.Close()
	s.packet.Close()
}

func (s *Server) answer(client net.Addr) []byte {
	addr := netip.MustParseAddrPort(client.String()).Addr()
	return fmt.Appendf(nil, "%s %s\n", s.name, addr.Unmap())
}

func (s *Server) serveStreams() {
	for {
		conn, err := s.stream.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.Write(s.answer(conn.RemoteAddr()))
			// Who wants to keep the connection gets back what he says.
			io.Copy(conn, conn)
		}()
	}
}

func (s *Server) servePackets() {
	buf := make([]byte, 2048)
	for {
		_, client, err := s.packet.ReadFrom(buf)
		if err != nil {
			return
		}
		s.packet.WriteTo(s.answer(client), client)
	}
}

// Ask asks what is at ADDRESS:PORT, over "tcp" or "udp".
func (p Place) Ask(network, address string) (Answer, error) {
	conn, err := p.Dial(network, address)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	return Hear(conn)
}

// Hear reads what a Server says first on a connection.
func Hear(conn net.Conn) (Answer, error) {
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return Answer{}, err
	}
	if strings.HasPrefix(conn.LocalAddr().Network(), "udp") {
		if _, err := conn.Write([]byte("?")); err != nil {
			return Answer{}, err
		}
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		return Answer{}, err
	}
	name, client, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return Answer{}, fmt.Errorf("what answers is no server of ours: %q", buf[:n])
	}
	return Answer{name, addr}, conn.SetDeadline(time.Time{})
}

// Echoes tells whether a connection that was heard still works.
func Echoes(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	const said = "still there?\n"
	if _, err := io.WriteString(conn, said); err != nil {
		return err
	}
	buf := make([]byte, len(said))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return err
	}
	if string(buf) != said {
		return fmt.Errorf("it came back as %q", buf)
	}
	return nil
}
