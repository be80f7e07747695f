package controlplane

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// AdvertisedAddress is what the API server says that it is reached at, in the EndpointSlice default/kubernetes. Nothing is
// there (RFC 5737): tests see a plausible address, and reach the server on loopback.
const AdvertisedAddress = "192.0.2.10"

// server is a running etcd and API server with their files.
type server struct {
	dir       string
	processes []*process
}

// run starts etcd, the API server and, if asked for, the controller manager, and waits until they serve.
func run(ctx context.Context, programs programs, controllerManager bool) (_ *server, _ *rest.Config, err error) {
	dir, err := os.MkdirTemp("", "bartizan-controlplane-")
	if err != nil {
		return nil, nil, err
	}
	s := &server{dir: dir}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	ports, err := freePorts(3)
	if err != nil {
		return nil, nil, err
	}
	etcd := "http://127.0.0.1:" + ports[0]
	peer := "http://127.0.0.1:" + ports[1]
	// The data does not outlive the process: nothing needs to reach the disk.
	if err := s.start(programs, "etcd",
		"--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
	); err != nil {
		return nil, nil, err
	}

	serviceAccountKey := filepath.Join(dir, "service-account.pem")
	token, err := s.writeCredentials(serviceAccountKey, filepath.Join(dir, "tokens.csv"))
	if err != nil {
		return nil, nil, err
	}
	if err := s.start(programs, "kube-apiserver",
		"--etcd-servers", etcd,
		"--bind-address", "127.0.0.1", "--secure-port", ports[2], "--advertise-address", AdvertisedAddress,
		"--cert-dir", dir, "--token-auth-file", filepath.Join(dir, "tokens.csv"), "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc", "--api-audiences", "https://kubernetes.default.svc",
		"--service-account-key-file", serviceAccountKey, "--service-account-signing-key-file", serviceAccountKey,
		"--service-cluster-ip-range", "10.0.0.0/24", "--allow-privileged",
		// Pods that a test makes need no ServiceAccount that only a controller would bring.
		"--disable-admission-plugins", "ServiceAccount",
	); err != nil {
		return nil, nil, err
	}
	config := &rest.Config{Host: "https://127.0.0.1:" + ports[2], BearerToken: token, QPS: -1}
	config.CAFile = filepath.Join(dir, "apiserver.crt")
	if err := s.wait(ctx, config); err != nil {
		return nil, nil, err
	}
	// The file goes with the server; clients of a test may be made when it is gone.
	if config.CAData, err = os.ReadFile(config.CAFile); err != nil {
		return nil, nil, err
	}
	config.CAFile = ""
	if controllerManager {
		if err := s.startControllerManager(programs, config, serviceAccountKey); err != nil {
			return nil, nil, err
		}
	}
	return s, config, nil
}

func (s *server) startControllerManager(programs programs, config *rest.Config, serviceAccountKey string) error {
	kubeconfig := filepath.Join(s.dir, "kubeconfig")
	if err := WriteKubeconfig(config, kubeconfig); err != nil {
		return err
	}
	return s.start(programs, "kube-controller-manager", "--kubeconfig", kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--controllers", "garbage-collector-controller,namespace-controller",
		"--service-account-private-key-file", serviceAccountKey)
}

// WriteKubeconfig writes config as a kubeconfig file, for programs.
func WriteKubeconfig(config *rest.Config, file string) error {
	const name = "controlplane"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, file)
}

// writeCredentials writes a key that signs the tokens of ServiceAccounts and the token of an administrator, and returns
// the token.
func (s *server) writeCredentials(keyFile, tokenFile string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return "", err
	}
	token := rand.Text()
	return token, os.WriteFile(tokenFile, []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600)
}

// wait returns when the API server is ready and has what every cluster has.
func (s *server) wait(ctx context.Context, config *rest.Config) error {
	for {
		err := check(ctx, config)
		if err == nil {
			return nil
		}
		for _, p := range s.processes {
			if p.ended() {
				return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
			}
		}
		select {
		case <-ctx.Done():
			last := s.processes[len(s.processes)-1]
			return fmt.Errorf("the API server did not get ready: %w; its last words: %s", err, last.lastWords())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func check(ctx context.Context, config *rest.Config) error {
	if _, err := os.Stat(config.CAFile); err != nil {
		return fmt.Errorf("its certificate is not there yet: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return err
	}
	_, err = client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
	return err
}

// stop ends the processes, the last one first, and removes their files.
func (s *server) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].stop()
	}
	_ = os.RemoveAll(s.dir)
}

// process is a program that ends with this one, even when this one is killed.
type process struct {
	name    string
	log     string
	command *exec.Cmd
	done    chan struct{}
}

func (s *server) start(programs programs, name string, arguments ...string) error {
	p := &process{name: name, done: make(chan struct{})}
	p.log = filepath.Join(s.dir, p.name+".log")
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	argv := append(programs(name), arguments...)
	p.command = exec.Command(argv[0], argv[1:]...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal is sent when the thread that started the process ends, so the thread must stay.
		runtime.LockOSThread()
		defer func() { _ = log.Close() }()
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.processes = append(s.processes, p)
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop kills: nothing of what the process has is kept.
func (p *process) stop() {
	_ = p.command.Process.Kill()
	<-p.done
}

func (p *process) lastWords() string {
	const enough = 2000
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(content) > enough {
		content = content[len(content)-enough:]
	}
	return string(bytes.TrimSpace(content))
}

// freePorts returns ports of the loopback address that were free a moment ago.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }()
		ports = append(ports, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}
