package backup

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	pieceSize = 8 << 20 // bytes compressed on their own
	encoders  = 2
)

// compressor writes a zstd stream made of independent frames, so that several processors compress it, for servers that cannot
// compress themselves. Concatenated frames are one zstd stream (RFC 8878, section 3).
type compressor struct {
	out     io.Writer
	piece   []byte
	idle    chan *worker
	ordered chan *worker // at work, in the order of their pieces
	done    chan error
}

// worker compresses a piece at a time.
type worker struct {
	encoder  *zstd.Encoder
	in, out  []byte
	finished chan struct{}
}

func newCompressor(out io.Writer) (*compressor, error) {
	c := &compressor{
		out:  out,
		idle: make(chan *worker, encoders), ordered: make(chan *worker, encoders), done: make(chan error, 1),
		piece: make([]byte, 0, pieceSize),
	}
	for range encoders {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
		c.idle <- &worker{encoder: e, in: make([]byte, 0, pieceSize), finished: make(chan struct{}, 1)}
	}
	go func() { c.done <- c.collect() }()
	return c, nil
}

func (c *compressor) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(c.piece)-len(c.piece))
		c.piece = append(c.piece, p[:n]...)
		written, p = written+n, p[n:]
		if len(c.piece) == cap(c.piece) {
			if err := c.compress(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// compress hands the piece to a worker and goes on with the worker's old buffer.
func (c *compressor) compress() error {
	select {
	case w := <-c.idle:
		w.in, c.piece = c.piece, w.in[:0]
		c.ordered <- w
		go func() {
			w.out = w.encoder.EncodeAll(w.in, w.out[:0])
			w.finished <- struct{}{}
		}()
		return nil
	case err := <-c.done:
		c.done <- err
		return err
	}
}

// collect writes the frames in the order of their pieces.
func (c *compressor) collect() error {
	for w := range c.ordered {
		<-w.finished
		if _, err := c.out.Write(w.out); err != nil {
			return err
		}
		c.idle <- w
	}
	return nil
}

// Close compresses the rest and waits until all is written. It does not close the writer below.
func (c *compressor) Close() error {
	var err error
	if len(c.piece) > 0 {
		err = c.compress()
	}
	close(c.ordered)
	if ended := <-c.done; err == nil {
		err = ended
	}
	c.idle = nil
	return err
}
