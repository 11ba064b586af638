//! the .apr v2 model file: reader, streaming writer, validator, signatures
