package kubernetes

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	ktesting "k8s.io/client-go/testing"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// wired is a cluster of objects whose exec goes to a server of this process.
type wired struct {
	kubernetes.Interface
	to rest.Interface
}

type wiredCore struct {
	typed.CoreV1Interface
	to rest.Interface
}

func (w wired) CoreV1() typed.CoreV1Interface  { return wiredCore{w.Interface.CoreV1(), w.to} }
func (w wiredCore) RESTClient() rest.Interface { return w.to }

// verb is what a restore pod does with the request on the nth connection. It returns the command's end, "" for a connection that breaks off.
type verb func(n int32, in io.Reader, out io.Writer) (end string)

const (
	wentWell = `{"metadata":{},"status":"Success"}`
	notFound = `{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"127"}]}}`
)

// execs has a restore pod that is ready at once, and answers as do says. It returns how often somebody connected.
func execs(t *testing.T, c *cluster, do verb) *atomic.Int32 {
	t.Helper()
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{"v5.channel.k8s.io": {
			Binary: true, Channels: []wsstream.ChannelType{wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel},
		}})
		_, streams, err := conn.Open(w, r)
		if err != nil {
			return
		}
		defer conn.Close()
		if end := do(n.Add(1), streams[0], streams[1]); end != "" {
			_, _ = io.WriteString(streams[3], end)
		}
	}))
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL}
	real, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects := c.client.(*fake.Clientset)
	objects.PrependReactor("create", "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
		if pod := a.(ktesting.CreateAction).GetObject().(*corev1.Pod); pod.Name == restoreName {
			pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.9", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
		}
		return false, nil, nil
	})
	c.client, c.rest = wired{objects, real.CoreV1().RESTClient()}, config
	return &n
}

// Whoever takes a restore over while another's swap is on its way starts the database: the swap is not tried again beside it.
func TestSwapLooksAgain(t *testing.T) {
	e, c := parkable(1)
	ctx := t.Context()
	if err := e.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	request := ""
	n := execs(t, c, func(_ int32, in io.Reader, _ io.Writer) string {
		line := make([]byte, 1000)
		read, _ := in.Read(line)
		request = string(line[:read])
		database, err := c.database(ctx)
		err = errors.Join(err, database.unpark(ctx, 1), c.client.CoreV1().Pods(c.namespace()).Delete(ctx, restoreName, metav1.DeleteOptions{}))
		if err != nil {
			t.Error(err)
		}
		return ""
	})
	if err := e.Swap(ctx, "/volume/clusters/one", "before"); err == nil || !strings.Contains(err.Error(), "not stopped for a restore") {
		t.Errorf("swap: %v", err)
	}
	if n.Load() != 1 || !strings.Contains(request, `"pod":"`) {
		t.Errorf("after %d attempts, the first asked %s", n.Load(), request)
	}
}

func shortPauses(t *testing.T) {
	former := pauses
	t.Cleanup(func() { pauses = former })
	pauses = []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}
}

// An API server that restarts in the middle of a verb does not end it: the verb runs again once there is an API server.
func TestLostConnectionsAreMadeAnew(t *testing.T) {
	shortPauses(t)
	e, c := parkable(1)
	away := atomic.Bool{}
	n := execs(t, c, func(n int32, _ io.Reader, out io.Writer) string {
		switch n {
		case 1:
			_, _ = io.WriteString(out, `{"progress":{"step":"unpack","done":7}}`+"\n")
			away.Store(true)
			return ""
		case 2:
			_, _ = io.WriteString(out, `{"error":{"text":"the caller is gone","code":1,"gone":true}}`+"\n")
			return ""
		}
		_, _ = io.WriteString(out, `{"result":{"live":"one","free":7}}`+"\n")
		return wentWell
	})
	c.client.(wired).Interface.(*fake.Clientset).PrependReactor("get", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
		if away.Swap(false) {
			return true, nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		return false, nil, nil
	})
	if live, err := e.Live(t.Context(), "one"); err != nil || !live || n.Load() != 3 {
		t.Errorf("after %d connections live is %v, %v", n.Load(), live, err)
	}
}

// What would end in the same way again, and what never ends well, is not tried for ever.
func TestVerbsThatEndAreNotRunAgain(t *testing.T) {
	shortPauses(t)
	for name, test := range map[string]struct {
		said, end string
		times     int32
		code      int
	}{
		"an answer":                {`{"error":{"text":"the bucket is away","code":7}}`, notFound, 1, fault.Unreachable},
		"a program that is gone":   {"sh: assistctl: not found", notFound, 1, fault.Unreachable},
		"no connection ever lasts": {"", "", int32(len(pauses)) + 1, fault.Unreachable},
	} {
		e, c := parkable(1)
		n := execs(t, c, func(_ int32, _ io.Reader, out io.Writer) string {
			_, _ = io.WriteString(out, test.said+"\n")
			return test.end
		})
		if _, err := e.Live(t.Context(), "one"); fault.CodeOf(err) != test.code || n.Load() != test.times {
			t.Errorf("%s: after %d connections: %v", name, n.Load(), err)
		}
	}
}

// Two pods of the one name can be told apart, by themselves and by who asks them.
func TestRestorePodKnowsItself(t *testing.T) {
	_, c := parkable(1)
	seen := map[string]bool{}
	for range 2 {
		pod, err := c.newRestorePod(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		token := pod.Annotations[annotationPod]
		for _, v := range pod.Spec.Containers[0].Env {
			if v.Name == podcall.PodVariable && v.Value == token {
				seen[token] = true
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("two pods are %v", seen)
	}
}
