// One index of github.com/coder/hnsw behind a line protocol, so that it is timed in Go and nothing of Python counts against it.
//
//	coder -base base.npy -queries queries.npy -seconds 60
//
// reads one JSON object a line from standard input and answers each with one line:
//
//	{"do":"build"}                                              adds rows until all are in or the seconds are over
//	{"do":"one","knob":50,"k":10,"queries":200,"seconds":0.3}   searches one query after another
//	{"do":"many","knob":50,"k":10,"queries":200,"threads":2}    the same, the queries divided among threads
//
// The knob is how many neighbours are asked for (the ten nearest are kept), and EfSearch with it: the library's walk ends once it
// has that many and a step brings nothing nearer, so this is what moves its recall.
package main

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/coder/hnsw"
)

type request struct {
	Do      string  `json:"do"`
	Knob    int     `json:"knob"`
	K       int     `json:"k"`
	Queries int     `json:"queries"`
	Threads int     `json:"threads"`
	Seconds float64 `json:"seconds"`
}

type answer struct {
	Error       string   `json:"error,omitempty"`
	Rows        int      `json:"rows,omitempty"`
	Seconds     float64  `json:"seconds,omitempty"`
	IDs         [][]int  `json:"ids,omitempty"`
	Nanoseconds []int64  `json:"ns,omitempty"`
	Version     []string `json:"version,omitempty"`
}

// readMatrix reads the first `limit` rows of a C-ordered float32 .npy of format 1.0.
func readMatrix(path string, dimension, limit int) ([][]float32, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<20)
	var head [10]byte
	if _, err := io.ReadFull(reader, head[:]); err != nil {
		return nil, err
	}
	if string(head[:6]) != "\x93NUMPY" || head[6] != 1 {
		return nil, fmt.Errorf("%s is not a .npy of format 1", path)
	}
	if _, err := reader.Discard(int(binary.LittleEndian.Uint16(head[8:]))); err != nil {
		return nil, err
	}
	var rows [][]float32
	raw := make([]byte, 4*dimension)
	for {
		if _, err := io.ReadFull(reader, raw); err == io.EOF || len(rows) == limit {
			return rows, nil
		} else if err != nil {
			return nil, err
		}
		row := make([]float32, dimension)
		for i := range row {
			row[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		rows = append(rows, row)
	}
}

type near struct {
	distance float32
	id       int
}

type session struct {
	base, queries [][]float32
	graph         *hnsw.Graph[int]
}

func (s *session) build(seconds float64) answer {
	s.graph = hnsw.NewGraph[int]()
	s.graph.M = 16
	s.graph.EfSearch = 200 // it builds with it too
	s.graph.Rng = rand.New(rand.NewSource(1))
	began := time.Now()
	for i, row := range s.base {
		s.graph.Add(hnsw.MakeNode(i, row))
		if time.Since(began).Seconds() > seconds {
			break
		}
	}
	taken := time.Since(began).Seconds()
	s.base = nil
	debug.FreeOSMemory()
	return answer{Rows: s.graph.Len(), Seconds: taken}
}

// search keeps the k nearest of what was asked for. The library answers in the order of its heap, so they are sorted first.
func (s *session) search(query []float32, asked, k int) []int {
	found := s.graph.Search(query, asked)
	if len(found) > k {
		order := make([]near, len(found))
		for i, node := range found {
			order[i] = near{s.graph.Distance(query, node.Value), node.Key}
		}
		slices.SortFunc(order, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
		ids := make([]int, k)
		for i := range ids {
			ids[i] = order[i].id
		}
		return ids
	}
	ids := make([]int, len(found))
	for i, node := range found {
		ids[i] = node.Key
	}
	return ids
}

func (s *session) one(r request) answer {
	queries := s.queries[:min(r.Queries, len(s.queries))]
	ids := make([][]int, len(queries))
	var times []int64
	began := time.Now()
	for {
		for i, query := range queries {
			start := time.Now()
			ids[i] = s.search(query, r.Knob, r.K)
			times = append(times, time.Since(start).Nanoseconds())
		}
		if time.Since(began).Seconds() >= r.Seconds {
			break
		}
	}
	return answer{IDs: ids, Nanoseconds: times, Seconds: time.Since(began).Seconds()}
}

func (s *session) many(r request) answer {
	queries := s.queries[:min(r.Queries, len(s.queries))]
	ids := make([][]int, len(queries))
	var wait sync.WaitGroup
	began := time.Now()
	for thread := 0; thread < r.Threads; thread++ {
		wait.Add(1)
		go func(first int) {
			defer wait.Done()
			for i := first; i < len(queries); i += r.Threads {
				ids[i] = s.search(queries[i], r.Knob, r.K)
			}
		}(thread)
	}
	wait.Wait()
	return answer{IDs: ids, Seconds: time.Since(began).Seconds()}
}

func (s *session) do(r request, seconds float64) (a answer) {
	defer func() {
		if cause := recover(); cause != nil {
			a = answer{Error: fmt.Sprint("panic: ", cause)}
		}
	}()
	switch r.Do {
	case "build":
		return s.build(seconds)
	case "one", "many":
		s.graph.EfSearch = max(r.Knob, 20)
		runtime.GOMAXPROCS(max(r.Threads, 1))
		if r.Do == "one" {
			return s.one(r)
		}
		return s.many(r)
	case "version":
		info, _ := debug.ReadBuildInfo()
		version := []string{runtime.Version()}
		for _, module := range info.Deps {
			if module.Path == "github.com/coder/hnsw" {
				version = append(version, module.Version)
			}
		}
		return answer{Version: version}
	}
	return answer{Error: "no such request: " + r.Do}
}

func run() error {
	basePath := flag.String("base", "", "the rows, float32 .npy")
	queriesPath := flag.String("queries", "", "the queries, float32 .npy")
	dimension := flag.Int("dimension", 0, "numbers a row")
	rows := flag.Int("rows", math.MaxInt, "at most so many of them")
	seconds := flag.Float64("seconds", 60, "after so many seconds building ends with the rows that are in")
	flag.Parse()
	var s session
	var err error
	if s.queries, err = readMatrix(*queriesPath, *dimension, math.MaxInt); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return err
		}
		if r.Do == "build" {
			if s.base, err = readMatrix(*basePath, *dimension, *rows); err != nil {
				return err
			}
		}
		if err := out.Encode(s.do(r, *seconds)); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "coder:", err)
		os.Exit(1)
	}
}
