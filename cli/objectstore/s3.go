package objectstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// S3Config says which bucket of which store, and how patient to be with it.
type S3Config struct {
	Endpoint     string // http://127.0.0.1:7070, addressed by path; "" is Amazon's own of the region, addressed by host
	Region       string // default us-east-1
	Bucket       string
	AccessKey    string
	SecretKey    string
	SessionToken string        // of temporary credentials
	Surroundings bool          // no keys are given: they are looked for as Amazon's own tools do (variables, profiles, single sign-on, a pod's identity)
	ByHost       bool          // Endpoint is addressed by host, as Amazon's own is
	RootCAs      []byte        // PEM of the CAs that Endpoint's certificate may come from; none are the system's
	Dial         Dialer        `json:"-"` // makes the connections; default a net.Dialer
	Attempts     int           // tries of a request that may be repeated, with growing jittered pauses of at most 2 s; default 5
	Stall        time.Duration // a connection on which no byte moves for so long is given up; default 60 s
	Rand         io.Reader     // default crypto/rand.Reader
}

// Dialer makes a connection, as net.Dialer's DialContext does.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// S3 is a Store over the S3 API. It may be used from several goroutines.
type S3 struct {
	client   *s3.Client
	bucket   string
	endpoint string
	random   io.Reader
}

var _ Store = (*S3)(nil)

// OpenS3 returns the bucket's store. It checks the configuration and makes no request of the store.
func OpenS3(ctx context.Context, c S3Config) (*S3, error) {
	switch {
	case c.Bucket == "":
		return nil, errors.New("open object store: no bucket is named")
	case !c.Surroundings && (c.AccessKey == "" || c.SecretKey == ""):
		return nil, fmt.Errorf("open bucket %s: access key or secret key is missing", c.Bucket)
	}
	c = c.withDefaults()
	identity, err := c.identity(ctx)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Bucket, err)
	}
	transport, err := newHTTPClient(c.Stall, c.Dial, c.RootCAs)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Bucket, err)
	}
	client := s3.New(s3.Options{
		Region:       c.Region,
		Credentials:  identity,
		HTTPClient:   transport,
		UsePathStyle: c.Endpoint != "" && !c.ByHost,
		// Put brings its own checksum, and readers verify SHA-256 against a signed commit or the chain.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = c.Attempts
			o.MaxBackoff = 2 * time.Second
			o.RateLimiter = ratelimit.None
		}),
	}, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	return &S3{client: client, bucket: c.Bucket, endpoint: c.Endpoint, random: c.Rand}, nil
}

// identity are the credentials that requests are signed with. Those from the surroundings are looked up with the first request.
func (c S3Config) identity(ctx context.Context) (aws.CredentialsProvider, error) {
	if !c.Surroundings {
		return credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, c.SessionToken), nil
	}
	found, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Region))
	if err != nil {
		return nil, fmt.Errorf("look for credentials: %w", err)
	}
	return found.Credentials, nil
}

func (c S3Config) withDefaults() S3Config {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Attempts == 0 {
		c.Attempts = 5
	}
	if c.Stall == 0 {
		c.Stall = time.Minute
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c
}

// Bucket returns the bucket's name.
func (s *S3) Bucket() string { return s.bucket }

// largeBody is the size from which a body is not hashed for the signature.
const largeBody = 1 << 20

// writeMark is the metadata key that tells a conditional write of ours from somebody else's.
const writeMark = "write"

// Put implements Store. Bodies are limited to 5 GiB (one PutObject). A failed request is repeated when that is safe, so a
// write of ours whose answer was lost can meet itself: a mark in the object's metadata tells, and the write then counts as done.
func (s *S3) Put(ctx context.Context, key string, body io.ReadSeeker, cond Condition) (Attributes, error) {
	input := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: body}
	size, options, err := prepareBody(input, body)
	if err != nil {
		return Attributes{}, fmt.Errorf("put %s: read body: %w", key, err)
	}
	mark := ""
	if cond != Always() {
		if mark, err = s.newMark(); err != nil {
			return Attributes{}, fmt.Errorf("put %s: %w", key, err)
		}
		input.Metadata = map[string]string{writeMark: mark}
		if cond.absent {
			input.IfNoneMatch = aws.String("*")
		} else {
			input.IfMatch = &cond.etag
		}
	}
	out, err := s.client.PutObject(ctx, input, options...)
	if err == nil {
		return Attributes{Key: key, Size: size, ETag: aws.ToString(out.ETag), ServerTime: serverTime(out.ResultMetadata)}, nil
	}
	if mark == "" || !conditionFailed(err, cond) {
		return Attributes{}, s.explain(err, "put %s", key)
	}
	head, headErr := s.head(ctx, key)
	switch {
	case headErr == nil && head.Metadata[writeMark] == mark:
		return attributesOf(key, head), nil
	case headErr != nil && !notFound(headErr):
		return Attributes{}, s.explain(headErr, "put %s: see who wrote it", key)
	}
	return Attributes{}, fmt.Errorf("put %s: %w", key, ErrPrecondition)
}

// prepareBody measures the body and gives the store a CRC32C to check, without which a bucket with a default retention (object lock) takes
// nothing. Of large ones that is all, and small ones are hashed for the request's signature as well, which costs ten times as much.
func prepareBody(input *s3.PutObjectInput, body io.ReadSeeker) (size int64, options []func(*s3.Options), err error) {
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, nil, err
	}
	end, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, nil, err
	}
	if _, err = body.Seek(start, io.SeekStart); err != nil {
		return 0, nil, err
	}
	size = end - start
	input.ContentLength = &size
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err = io.Copy(sum, body); err != nil {
		return 0, nil, err
	}
	if _, err = body.Seek(start, io.SeekStart); err != nil {
		return 0, nil, err
	}
	input.ChecksumCRC32C = aws.String(base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	if size < largeBody {
		return size, nil, nil
	}
	return size, []func(*s3.Options){s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)}, nil
}

func (s *S3) newMark() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.random, b[:]); err != nil {
		return "", fmt.Errorf("random mark: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, Attributes, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return nil, Attributes{}, s.explain(err, "get %s", key)
	}
	a := Attributes{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag),
		LastModified: aws.ToTime(out.LastModified), ServerTime: serverTime(out.ResultMetadata),
	}
	return &wholeBody{body: out.Body, key: key, left: a.Size}, a, nil
}

// wholeBody names the object in what goes wrong. That a body which ends early fails with io.ErrUnexpectedEOF is net/http's doing, which
// knows the announced size.
type wholeBody struct {
	body io.ReadCloser
	key  string
	left int64
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("get %s: %d bytes before the end: %w", b.key, b.left, err)
	}
	return n, err
}

func (b *wholeBody) Close() error { return b.body.Close() }

// Stat implements Store.
func (s *S3) Stat(ctx context.Context, key string) (Attributes, error) {
	head, err := s.head(ctx, key)
	if err != nil {
		return Attributes{}, s.explain(err, "stat %s", key)
	}
	return attributesOf(key, head), nil
}

func (s *S3) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
}

func attributesOf(key string, head *s3.HeadObjectOutput) Attributes {
	return Attributes{
		Key: key, Size: aws.ToInt64(head.ContentLength), ETag: aws.ToString(head.ETag),
		LastModified: aws.ToTime(head.LastModified), ServerTime: serverTime(head.ResultMetadata),
	}
}

// List implements Store.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Attributes, error] {
	return func(yield func(Attributes, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Attributes{}, s.explain(err, "list %s*", prefix))
				return
			}
			for _, o := range page.Contents {
				a := Attributes{
					Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size),
					ETag: aws.ToString(o.ETag), LastModified: aws.ToTime(o.LastModified),
				}
				if !yield(a, nil) {
					return
				}
			}
		}
	}
}

// deleteBatch is how many keys one DeleteObjects request may name.
const deleteBatch = 1000

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, keys ...string) error {
	for len(keys) > 0 {
		batch := keys[:min(len(keys), deleteBatch)]
		keys = keys[len(batch):]
		objects := make([]types.ObjectIdentifier, len(batch))
		for i, key := range batch {
			objects[i].Key = aws.String(key)
		}
		out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: &s.bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return s.explain(err, "delete %s and %d more", batch[0], len(batch)-1)
		}
		var failed []error
		for _, e := range out.Errors {
			if code := aws.ToString(e.Code); code != "NoSuchKey" {
				failed = append(failed, fmt.Errorf("delete %s: %s: %s", aws.ToString(e.Key), code, aws.ToString(e.Message)))
			}
		}
		if err := errors.Join(failed...); err != nil {
			return err
		}
	}
	return nil
}

func serverTime(m middleware.Metadata) time.Time {
	t, _ := awsmiddleware.GetServerTime(m)
	return t
}
