module lockstream/examples/go

go 1.24
