// Package weights is the file of learned weights: how it is written by the training program, read by the classifier, and applied.
//
// It owns the arithmetic of a result. What the features are is the classifier's.
package weights

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	Categories = 6
	Groups     = 4
)

// Row is the weights of a feature, one for each category.
type Row [Categories]int8

// Table is a linear model. A feature is known by a key, whose upper two bits are its group. Weights are whole numbers in a group's unit,
// so that sums are exact on every machine.
type Table struct {
	Keys  []uint32 // rising
	Rows  []Row    // of Keys
	Units [Groups]float32
	Dense [][Categories]float32 // weights of the features that are numbers
	Bias  [Categories]float32

	slots []int32 // hash table: index in Keys plus 1
}

// Group is the group of a key.
func Group(key uint32) int { return int(key >> 30) }

// Index returns where a key is in Keys, or false where it was not learned.
func (t *Table) Index(key uint32) (int, bool) {
	mask := len(t.slots) - 1
	for s := int(key) & mask; t.slots[s] != 0; s = (s + 1) & mask {
		if i := int(t.slots[s] - 1); t.Keys[i] == key {
			return i, true
		}
	}
	return 0, false
}

// Prepare makes a table that was put together by hand ready for Index.
func (t *Table) Prepare() {
	size := 1
	for size < 2*len(t.Keys)+1 {
		size *= 2
	}
	t.slots = make([]int32, size)
	for i, key := range t.Keys {
		s := int(key) & (size - 1)
		for t.slots[s] != 0 {
			s = (s + 1) & (size - 1)
		}
		t.slots[s] = int32(i + 1)
	}
}

// Sums collects the features of one message.
type Sums struct {
	table  *Table
	seen   []uint64
	sums   [Groups][Categories]int32
	counts [Groups]int32
}

// Sums returns an empty collection.
func (t *Table) Sums() *Sums {
	return &Sums{table: t, seen: make([]uint64, len(t.Keys)/64+1)}
}

// Add adds a feature that was learned; again it counts nothing.
func (s *Sums) Add(key uint32) {
	i, known := s.table.Index(key)
	if !known || s.seen[i/64]&(1<<(i%64)) != 0 {
		return
	}
	s.seen[i/64] |= 1 << (i % 64)
	g := Group(key)
	s.counts[g]++
	for k, w := range s.table.Rows[i] {
		s.sums[g][k] += int32(w)
	}
}

// Share is what a unit of a group's weights adds to a total. A group counts the same however many features a message has in it.
func (s *Sums) Share(group int) float64 {
	if s.counts[group] == 0 {
		return 0
	}
	return float64(s.table.Units[group]) / math.Sqrt(float64(s.counts[group]))
}

// Strength is how much a feature speaks for a category rather than for the others on average; 0 where it was not learned.
func (s *Sums) Strength(key uint32, category int) float64 {
	i, known := s.table.Index(key)
	if !known {
		return 0
	}
	row, sum := s.table.Rows[i], 0
	for _, w := range row {
		sum += int(w)
	}
	return s.Share(Group(key)) * (float64(row[category]) - float64(sum)/Categories)
}

// Probabilities returns how likely each category is.
func (s *Sums) Probabilities(dense []float32) (p [Categories]float64) {
	for k := range p {
		p[k] = float64(s.table.Bias[k])
		for g := range Groups {
			p[k] += float64(s.Share(g) * float64(s.sums[g][k])) // the conversion keeps machines from fusing, which rounds differently
		}
		for i, x := range dense {
			p[k] += float64(float64(x) * float64(s.table.Dense[i][k]))
		}
	}
	return Softmax(p)
}

// Softmax turns totals into probabilities.
func Softmax(totals [Categories]float64) (p [Categories]float64) {
	highest := totals[0]
	for _, t := range totals {
		highest = max(highest, t)
	}
	var sum float64
	for k, t := range totals {
		p[k] = math.Exp(t - highest)
		sum += p[k]
	}
	for k := range p {
		p[k] /= sum
	}
	return p
}

// header begins a file.
type header struct {
	Magic [4]byte
	Keys  uint32
	Dense uint32
	Units [Groups]float32
	Bias  [Categories]float32
}

var magic = [4]byte{'M', 'W', 'T', '1'}

const limit = 1 << 20 // keys of a file, and its dense features

// Write writes the table: gzip of the header, dense weights, the keys as differences, and the rows, all little-endian.
func (t *Table) Write(w io.Writer) error {
	var keys bytes.Buffer
	last := uint32(0)
	for _, key := range t.Keys {
		keys.Write(binary.AppendUvarint(nil, uint64(key-last)))
		last = key
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("write weights: %w", err)
	}
	head := header{Magic: magic, Keys: uint32(len(t.Keys)), Dense: uint32(len(t.Dense)), Units: t.Units, Bias: t.Bias}
	for _, part := range []any{head, t.Dense, keys.Bytes(), t.Rows} {
		if err := binary.Write(z, binary.LittleEndian, part); err != nil {
			return fmt.Errorf("write weights: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write weights: %w", err)
	}
	return nil
}

// Read reads what Write wrote.
func Read(file []byte) (*Table, error) {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	all, err := io.ReadAll(io.LimitReader(z, 32*limit))
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	r := bytes.NewReader(all)
	var head header
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return nil, fmt.Errorf("read the weights' header: %w", err)
	}
	if head.Magic != magic || head.Keys > limit || head.Dense > limit {
		return nil, fmt.Errorf("read weights: this is no file of weights, or one of another version")
	}
	t := &Table{
		Keys: make([]uint32, head.Keys), Rows: make([]Row, head.Keys), Units: head.Units, Bias: head.Bias,
		Dense: make([][Categories]float32, head.Dense),
	}
	if err := binary.Read(r, binary.LittleEndian, t.Dense); err != nil {
		return nil, fmt.Errorf("read the dense weights: %w", err)
	}
	last := uint32(0)
	for i := range t.Keys {
		step, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, fmt.Errorf("read key %d of the weights: %w", i, err)
		}
		last += uint32(step)
		t.Keys[i] = last
	}
	if err := binary.Read(r, binary.LittleEndian, t.Rows); err != nil {
		return nil, fmt.Errorf("read the rows of the weights: %w", err)
	}
	t.Prepare()
	return t, nil
}
