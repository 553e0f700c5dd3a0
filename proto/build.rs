//! Generates the messages from the .proto files without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "baton/relay/v1/relay.proto",
        "baton/channel/v1/channel.proto",
        "baton/channel/v1/ticket.proto",
        "baton/exec/v1/exec.proto",
        "baton/meta/v1/meta.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
