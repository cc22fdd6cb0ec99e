"""Data sets and DICOM files (PS3.5, PS3.10). The only room that imports pydicom for the library.

The modules, from the bottom to the top. Import a name from the module that defines it: many of them do not need
pydicom, whose import takes longer than an echo.

Encoding
    encoding        value representations, headers, delimiters, inflating: the facts the others share
    scanner         the elements of a data set, followed while it arrives
    frames          pixel data, cut into frames
    completeness    whether an arriving data set is complete
    structure       the headers of a whole data set, checked before pydicom reads it
    codestreams     the transfer syntax that encapsulated pixel data shows

Data sets in memory
    pydicom_names   the names of pydicom that other rooms use
    fast_codec      data sets without sequences, between bytes and pydicom
    codec           whole small data sets, between bytes and pydicom
    assembling      a pydicom data set from the parts of a received one
    character_sets  text in the character sets of DICOM
    texts           the text values of a data set as the peer wrote them
    json_model      a data set in the DICOM JSON Model
    misfits         elements that Implicit VR cannot represent
    reencoding      encoded elements between Explicit and Implicit VR

Sources: what can be sent
    threads         blocking calls, outside the event loop
    recognizing     the transfer syntax of a file without File Meta Information
    part10          File Meta Information
    sources         files, binary streams, buffers
    streams         files in memory, asynchronous streams
    discover        the files, folders, DICOMDIRs and zip archives to send
    pydicom_source  a pydicom data set, with its pixel data or with pixels from elsewhere
    derived         a source in another encoding, streamed
    byteorder       a big endian source in little endian
    encapsulation   the fragments of encapsulated pixel data
    transcode       a source in the accepted transfer syntax
    decompression   a source with its pixel data decompressed, frame by frame
    edits           data elements to set and to remove
    editing         a source with edits in its header
    edited_source   the same, which reads the header only when it is sent
    new_uids        edits that make new UIDs

Received files
    file_names      safe file names from templates
    part10_file     atomically written files
    file_writer     writing without blocking the event loop
    file_objects    writing to the file objects of a program
"""
