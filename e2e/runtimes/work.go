// Nodes and slices of Go: checked after the signal, then others made and given back to the system, several times.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

const nodes = 100000

type node struct {
	name string
	next *node
	data [40]byte
}

var bad = 0

func report(line string) {
	file, err := os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(file, line)
	file.Close()
}

func expect(condition bool, what string) {
	if !condition {
		bad++
		report("CORRUPT " + what)
	}
}

// What is new must be zeros.
func list(length int) *node {
	var head *node
	for i := 0; i < length; i++ {
		head = &node{next: head}
		for k := range head.data {
			if head.data[k] != 0 {
				expect(false, "a new node")
				break
			}
			head.data[k] = byte(i) | 1
		}
		head.name = fmt.Sprint("node ", i)
	}
	return head
}

func isRight(head *node, length int) bool {
	for i := length - 1; i >= 0; i-- {
		if head == nil || head.name != fmt.Sprint("node ", i) || head.data[7] != byte(i)|1 {
			return false
		}
		head = head.next
	}
	return head == nil
}

func zeros(size int) {
	slice := make([]byte, size)
	for i := range slice {
		if slice[i] != 0 {
			expect(false, fmt.Sprint("make ", size))
			return
		}
		slice[i] = 0x77
	}
}

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	kept := list(nodes)
	large := make([]byte, 10<<20)
	for i := range large {
		large[i] = byte(i * 7)
	}
	expected := sha256.Sum256(large)
	list(nodes)
	zeros(5 << 20)
	report(fmt.Sprint("ready ", os.Getpid()))
	<-signals

	for round := 0; round < 4; round++ {
		expect(isRight(kept, nodes), "list")
		expect(sha256.Sum256(large) == expected, "slice")
		expect(isRight(list(nodes), nodes), "new list")
		debug.FreeOSMemory()
		for _, size := range []int{100, 5000, 300000, 5000000} {
			zeros(size)
		}
		done := make(chan bool)
		for i := 0; i < 8; i++ {
			go func() {
				done <- isRight(list(20000), 20000)
			}()
		}
		for i := 0; i < 8; i++ {
			expect(<-done, "list of a goroutine")
		}
	}
	if bad > 0 {
		report("FAILED")
	} else {
		report("OK")
	}
}
