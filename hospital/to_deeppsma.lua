-- Passes PET, CT and organ maps on to the node as they come; not what the node itself has sent.
function OnStoredInstance(instanceId, tags, metadata, origin)
  local wanted = { PT = true, CT = true, SEG = true }
  if origin["RemoteAet"] ~= "DEEPPSMA" and wanted[tags["Modality"]] then
    SendToModality(instanceId, "deeppsma")
  end
end
